//! What people ask for, recorded: each is one transaction, repeated if somebody else changed the record meanwhile. The
//! controller does the rest.

use crate::controller::{Controllers, Shared};
use crate::records::{RecordError, Versioned};
use gapless_core::application::{Application, Promotion};
use gapless_core::command::{self, CommandError, Requester, Rollback, Steer, Submission};
use gapless_core::deployment::{Cause, Outcome, Reason};
use gapless_core::plan::Plan;
use gapless_core::release::Origin;
use gapless_core::{AppKey, Artifacts, Deployment, EnvName, Phase, Release, Spec};
use std::sync::Arc;

/// How many of the last deployments a plan is made from.
const PLANNED_FROM: usize = 20;

/// Why something that was asked for was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It makes no sense as things stand.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The record could not be read or changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The data plane cannot do what the configuration wants.
    #[error("{plane}, the data plane of this server, cannot do what the configuration wants: {}; change that, or let gapless's own proxy serve (`[proxy] kind = \"gapless\"` in server.toml)", .reasons.join("; "))]
    Unsupported {
        /// Which data plane.
        plane: &'static str,
        /// What it cannot do, and why.
        reasons: Vec<String>,
    },
    /// There is no such application.
    #[error("there is no application {} in the environment {}; `gapless status` lists those there are", .0.app, .0.env)]
    NoApplication(AppKey),
    /// The application has no such deployment.
    #[error("{0} has no deployment {1}; `gapless history` lists those there are")]
    NoDeployment(AppKey, u64),
    /// The application has no such release.
    #[error("{0} has no release {1}; `gapless history` lists those there are")]
    NoRelease(AppKey, u64),
}

/// Records what people ask for.
#[derive(Clone)]
pub struct Operations {
    shared: Arc<Shared>,
    controllers: Arc<Controllers>,
    /// The data plane, and what of a configuration it cannot do.
    refused_by: Option<(&'static str, Refusals)>,
}

/// What of a configuration a data plane cannot do, and why, for people.
pub type Refusals = fn(&Spec) -> Vec<String>;

impl Operations {
    /// Operations on those records, for those controllers to carry on.
    #[must_use]
    pub fn new(shared: Arc<Shared>, controllers: Arc<Controllers>) -> Self {
        Operations { shared, controllers, refused_by: None }
    }

    /// The same, refusing what the data plane of that name cannot do.
    #[must_use]
    pub fn refusing(self, plane: &'static str, refusals: Refusals) -> Self {
        Operations { refused_by: Some((plane, refusals)), ..self }
    }

    fn check(&self, spec: &Spec) -> Result<(), OperationError> {
        let Some((plane, refusals)) = self.refused_by else { return Ok(()) };
        let reasons = refusals(spec);
        if reasons.is_empty() { Ok(()) } else { Err(OperationError::Unsupported { plane, reasons }) }
    }

    /// Queues a deployment of a new release; deployments that wait already are superseded.
    ///
    /// # Errors
    /// If a host belongs to another application, the application is being removed, the data plane cannot do what the
    /// specification wants, or the store does not answer.
    pub async fn deploy(
        &self,
        key: &AppKey,
        spec: Spec,
        then: Vec<Spec>,
        force: bool,
        by: &Requester,
    ) -> Result<Deployment, OperationError> {
        self.check(&spec)?;
        let spec = Arc::new(spec);
        let then: Vec<_> = then.into_iter().map(Arc::new).collect();
        self.hand_in(key, by, |app| command::deploy(app, spec.clone(), then.clone(), force, by)).await
    }

    /// Queues a deployment of what has succeeded in the environment `from`, with the configuration of this one.
    ///
    /// # Errors
    /// If nothing has succeeded there, or this environment requires more; as for [`Operations::deploy`] otherwise.
    pub async fn promote(
        &self,
        key: &AppKey,
        from: &EnvName,
        spec: Spec,
        then: Vec<Arc<Spec>>,
        by: &Requester,
    ) -> Result<Deployment, OperationError> {
        self.check(&spec)?;
        let mut proven = Vec::new();
        for env in std::iter::once(from).chain(spec.requires.iter().filter(|env| *env != from)) {
            let there = self.application(&AppKey::new(key.app.clone(), env.clone())).await?.record;
            let live = there.live_placement().map(|live| live.id.deployment);
            let deployment = match live {
                Some(number) => self.shared.records.deployment(&there.key, number).await?,
                None => None,
            };
            proven.push(command::proven(&there, deployment.as_ref().map(|found| &found.record))?);
        }
        self.hand_in(key, by, |app| command::promote(app, &spec, then.clone(), &proven, by)).await
    }

    async fn hand_in(
        &self,
        key: &AppKey,
        by: &Requester,
        command: impl Fn(&mut Application) -> Result<Submission, CommandError>,
    ) -> Result<Deployment, OperationError> {
        loop {
            let before = self.shared.records.application(key).await?;
            let before = match before {
                Some(Versioned { record, revision }) => Versioned { record: Some(record), revision },
                None => Versioned { record: None, revision: 0 },
            };
            let mut app = before.record.clone().unwrap_or_else(|| Application::new(key.clone()));
            let Submission { release, deployment, superseded } = command(&mut app)?;
            let mut deployments = vec![Versioned { record: deployment.clone(), revision: 0 }];
            for number in superseded {
                if let Some(mut old) = self.shared.records.deployment(key, number).await? {
                    let newer = format!("deployment {} took its place", deployment.number);
                    let reason = Reason::new(Cause::Superseded, newer);
                    old.record.enter(Phase::Ended(Outcome::Cancelled(reason)), by.at);
                    deployments.push(old);
                }
            }
            if self.recorded(&before, &app, Some(&release), &deployments).await? {
                return Ok(deployment);
            }
        }
    }

    /// Has a release that has succeeded in an environment deployed into the next one, once. That it is not what is live
    /// there any more, or that the next one requires more, makes it pointless.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn promote_by_itself(
        &self,
        from: &AppKey,
        promotion: &Promotion,
        by: &Requester,
    ) -> Result<(), OperationError> {
        let to = AppKey::new(from.app.clone(), promotion.to.clone());
        let release = self.release(from, promotion.release).await?;
        let spec = release.then.iter().find(|spec| spec.env == promotion.to);
        let origin = Origin { env: from.env.clone(), release: promotion.release };
        let newest = match self.shared.records.application(&to).await? {
            Some(there) => self.shared.records.release(&to, there.record.last_release).await?,
            None => None,
        };
        let is_done = newest.is_some_and(|newest| newest.record.promoted_from.as_ref() == Some(&origin));
        if let Some(spec) = spec.filter(|_| !is_done) {
            let promoted = self.promote(&to, &from.env, (**spec).clone(), release.then.clone(), by).await;
            match promoted {
                Ok(deployment) => {
                    tracing::info!(application = %to, deployment = deployment.number, from = %from.env, "promoted")
                }
                Err(error @ OperationError::Record(_)) => return Err(error),
                Err(error) => tracing::warn!(application = %to, from = %from.env, %error, "is not promoted"),
            }
        }
        self.change(from, |app, _| {
            command::end_promotion(app, promotion);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Wakes the controller of an application.
    pub fn wake(&self, key: &AppKey) {
        self.controllers.wake(key);
    }

    /// What deploying `spec` would change and do.
    ///
    /// # Errors
    /// If the data plane cannot do what it wants, or the store does not answer.
    pub async fn plan(&self, key: &AppKey, spec: &Spec) -> Result<Plan, OperationError> {
        self.check(spec)?;
        let app = self.shared.records.application(key).await?.map(|app| app.record);
        let history = self.shared.records.deployments(key, u64::MAX, PLANNED_FROM).await?;
        // What cannot be looked up is not known: the deployment will say why.
        let runtime = self.shared.runtimes.of(spec);
        let mut artifacts = Some(Artifacts::default());
        for (name, service) in &spec.services {
            let artifact = runtime.look_up(&service.workload).await.ok().flatten();
            artifacts = artifacts.zip(artifact).map(|(mut artifacts, artifact)| {
                artifacts.0.insert(name.clone(), artifact);
                artifacts
            });
        }
        Ok(Plan::new(app.as_ref(), spec, artifacts, &history))
    }

    /// Goes back to `release`, or without one to the release that was live before: by taking back the active
    /// deployment, or by one that deploys that release again. The answer is the deployment to follow.
    ///
    /// # Errors
    /// If there is nothing to go back to, a deployment before its cutover is in the way, or, without `force`, a migration.
    pub async fn rollback(
        &self,
        key: &AppKey,
        release: Option<u64>,
        force: bool,
        by: &Requester,
    ) -> Result<Deployment, OperationError> {
        loop {
            let (Versioned { record: before, revision }, active) = self.application_and_active(key).await?;
            let release = match command::rollback(&before, active.as_ref(), release, force)? {
                Rollback::RevertActive => return self.end_active(key, "rolled back", by).await,
                Rollback::Deploy { release } => self.release(key, release).await?,
            };
            let mut app = before.clone();
            let deployment = command::redeploy(&mut app, &release, by)?;
            let before = Versioned { record: Some(before), revision };
            if self.recorded(&before, &app, None, &[Versioned { record: deployment.clone(), revision: 0 }]).await? {
                return Ok(deployment);
            }
        }
    }

    /// Ends the deployment that is under way: cancelled before its cutover, taken back after it.
    ///
    /// # Errors
    /// If none is under way, or it is so far that nothing is left to take back.
    pub async fn abort(&self, key: &AppKey, by: &Requester) -> Result<Deployment, OperationError> {
        self.end_active(key, "aborted", by).await
    }

    /// Lets the application rest.
    ///
    /// # Errors
    /// If a deployment is under way, or nothing is live.
    pub async fn stop(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, command::stop).await
    }

    /// Lets a stopped application serve again.
    ///
    /// # Errors
    /// If nothing of it was live.
    pub async fn start(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::start(app)).await
    }

    /// Has the application's requests answered by a page.
    ///
    /// # Errors
    /// If they are already, or nothing is live.
    pub async fn begin_maintenance(
        &self,
        key: &AppKey,
        page: Option<String>,
        by: &Requester,
    ) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::begin_maintenance(app, page.clone(), by)).await
    }

    /// Has the application answer again.
    ///
    /// # Errors
    /// If it does already.
    pub async fn end_maintenance(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::end_maintenance(app)).await
    }

    /// Removes the application.
    ///
    /// # Errors
    /// If a deployment is under way.
    pub async fn remove(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, command::remove).await
    }

    /// The application's record.
    ///
    /// # Errors
    /// If there is none.
    pub async fn application(&self, key: &AppKey) -> Result<Versioned<Application>, OperationError> {
        let found = self.shared.records.application(key).await?;
        found.ok_or_else(|| OperationError::NoApplication(key.clone()))
    }

    /// One of its deployments.
    ///
    /// # Errors
    /// If there is none of that number.
    pub async fn deployment(&self, key: &AppKey, number: u64) -> Result<Versioned<Deployment>, OperationError> {
        let found = self.shared.records.deployment(key, number).await?;
        match found {
            Some(deployment) => Ok(deployment),
            None => {
                self.application(key).await?;
                Err(OperationError::NoDeployment(key.clone(), number))
            }
        }
    }

    /// One of its releases.
    ///
    /// # Errors
    /// If there is none of that number.
    pub async fn release(&self, key: &AppKey, number: u64) -> Result<Release, OperationError> {
        let found = self.shared.records.release(key, number).await?;
        match found {
            Some(release) => Ok(release.record),
            None => {
                self.application(key).await?;
                Err(OperationError::NoRelease(key.clone(), number))
            }
        }
    }

    /// The deployment that is under way.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn active(&self, app: &Application) -> Result<Option<Deployment>, OperationError> {
        let Some(claim) = &app.active else { return Ok(None) };
        Ok(self.shared.records.deployment(&app.key, claim.deployment).await?.map(|found| found.record))
    }

    /// An application and the deployment that is under way in it, at one moment. They are read one after the other: one
    /// that has ended meanwhile has given its claim up in the same transaction, so both are read again.
    ///
    /// # Errors
    /// If there is no such application, or the store does not answer.
    pub async fn application_and_active(
        &self,
        key: &AppKey,
    ) -> Result<(Versioned<Application>, Option<Deployment>), OperationError> {
        loop {
            let app = self.application(key).await?;
            let active = self.active(&app.record).await?;
            if active.as_ref().is_none_or(|active| !active.phase.is_end()) {
                return Ok((app, active));
            }
        }
    }

    /// Approves deployment `number`, which waits for it.
    ///
    /// # Errors
    /// If it does not wait, or this person's approval does not count.
    pub async fn approve(&self, key: &AppKey, number: u64, by: &Requester) -> Result<Deployment, OperationError> {
        let release = self.deployment(key, number).await?.record.release;
        let rule = self.release(key, release).await?.spec.approval.clone();
        self.change_deployment(key, number, |deployment| command::approve(deployment, rule.as_ref(), by)).await
    }

    /// Refuses deployment `number`, which waits for an approval.
    ///
    /// # Errors
    /// If it does not wait for one.
    pub async fn reject(
        &self,
        key: &AppKey,
        number: u64,
        reason: &str,
        by: &Requester,
    ) -> Result<Deployment, OperationError> {
        self.change_deployment(key, number, |deployment| command::reject(deployment, reason, by)).await
    }

    /// Steers the canary that is under way.
    ///
    /// # Errors
    /// If none is, or it is so already.
    pub async fn steer(&self, key: &AppKey, steer: Steer, by: &Requester) -> Result<Deployment, OperationError> {
        let app = self.application(key).await?.record;
        let Some(claim) = &app.active else {
            return Err(CommandError::NothingUnderWay { key: key.clone() }.into());
        };
        self.change_deployment(key, claim.deployment, |deployment| command::steer(deployment, steer, by)).await
    }

    async fn end_active(&self, key: &AppKey, verb: &str, by: &Requester) -> Result<Deployment, OperationError> {
        let app = self.application(key).await?.record;
        let Some(claim) = app.active.as_ref().or(app.queue.first()) else {
            return Err(CommandError::NothingUnderWay { key: key.clone() }.into());
        };
        self.change_deployment(key, claim.deployment, |deployment| command::abort(deployment, verb, by)).await
    }

    async fn change_deployment(
        &self,
        key: &AppKey,
        number: u64,
        command: impl Fn(&mut Deployment) -> Result<(), CommandError>,
    ) -> Result<Deployment, OperationError> {
        loop {
            let mut deployment = self.deployment(key, number).await?;
            command(&mut deployment.record)?;
            match self.shared.records.put_deployment(&deployment).await {
                Err(RecordError::Conflict) => {}
                Err(error) => {
                    self.controllers.wake(key);
                    return Err(error.into());
                }
                Ok(_) => {
                    self.tell(key);
                    return Ok(deployment.record);
                }
            }
        }
    }

    async fn change(
        &self,
        key: &AppKey,
        command: impl Fn(&mut Application, Option<&Deployment>) -> Result<(), CommandError>,
    ) -> Result<Application, OperationError> {
        loop {
            let (Versioned { record: before, revision }, active) = self.application_and_active(key).await?;
            let mut app = before.clone();
            command(&mut app, active.as_ref())?;
            if self.recorded(&Versioned { record: Some(before), revision }, &app, None, &[]).await? {
                return Ok(app);
            }
        }
    }

    /// Records a change; false if somebody else changed the record meanwhile.
    async fn recorded(
        &self,
        before: &Versioned<Option<Application>>,
        app: &Application,
        release: Option<&Release>,
        deployments: &[Versioned<Deployment>],
    ) -> Result<bool, OperationError> {
        match self.shared.records.submit(before, app, release, deployments).await {
            Err(RecordError::Conflict) => Ok(false),
            Err(error) => {
                // It may have been recorded all the same, with only the answer lost.
                self.controllers.wake(&app.key);
                Err(error.into())
            }
            Ok(revision) => {
                self.shared.tables.set(app, revision);
                self.tell(&app.key);
                Ok(true)
            }
        }
    }

    fn tell(&self, key: &AppKey) {
        let _ = self.shared.changes.send(key.clone());
        self.controllers.wake(key);
    }
}

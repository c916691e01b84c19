//! Operations: what people request, each recorded in one transaction, which is repeated if the record changed
//! meanwhile. The controller does the rest.

mod queries;

use crate::controller::{Controllers, Shared};
use crate::records::{RecordError, Versioned};
use gapless_core::application::{Application, Promotion};
use gapless_core::command::{self, CommandError, HandedIn, Requester, Rollback, Steer};
use gapless_core::deployment::{Cause, Outcome, Reason};
use gapless_core::release::Origin;
use gapless_core::{AppKey, Deployment, EnvName, Phase, Release, Spec};
use std::sync::Arc;

/// The number of latest deployments that a plan is made from.
const PLANNED_FROM: usize = 20;

/// Why an operation was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The state of the application does not allow the operation.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The record could not be read or changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The data plane does not support a part of the configuration.
    #[error("{plane}, the data plane of this server, does not support this configuration: {}; change it, or use gapless's own proxy (`[proxy] kind = \"gapless\"` in server.toml)", .reasons.join("; "))]
    Unsupported {
        /// The name of the data plane.
        plane: &'static str,
        /// The unsupported parts, and why.
        reasons: Vec<String>,
    },
    /// The application does not exist.
    #[error("there is no application {} in the environment {}; `gapless status` lists all applications", .0.app, .0.env)]
    NoApplication(AppKey),
    /// The application has no deployment of that number.
    #[error("{0} has no deployment {1}; `gapless history` lists its deployments")]
    NoDeployment(AppKey, u64),
    /// The application has no release of that number.
    #[error("{0} has no release {1}; `gapless history` lists its releases")]
    NoRelease(AppKey, u64),
}

/// Records the operations that people request.
#[derive(Clone)]
pub struct Operations {
    shared: Arc<Shared>,
    controllers: Arc<Controllers>,
    /// The name of the data plane, and its check of a configuration.
    unsupported: Option<(&'static str, Unsupported)>,
}

/// The parts of a configuration that a data plane does not support, with reasons, for people.
pub type Unsupported = fn(&Spec) -> Vec<String>;

impl Operations {
    /// Operations on the records of `shared`, for `controllers` to carry out.
    #[must_use]
    pub fn new(shared: Arc<Shared>, controllers: Arc<Controllers>) -> Self {
        Operations { shared, controllers, unsupported: None }
    }

    /// Adds a check that rejects configurations that the data plane of that name does not support.
    #[must_use]
    pub fn rejecting(self, plane: &'static str, unsupported: Unsupported) -> Self {
        Operations { unsupported: Some((plane, unsupported)), ..self }
    }

    fn check(&self, spec: &Spec) -> Result<(), OperationError> {
        let Some((plane, unsupported)) = self.unsupported else { return Ok(()) };
        let reasons = unsupported(spec);
        if reasons.is_empty() { Ok(()) } else { Err(OperationError::Unsupported { plane, reasons }) }
    }

    /// Queues a deployment of a new release; deployments that are queued already are superseded.
    ///
    /// # Errors
    /// If a host belongs to another application, the application is being removed, the data plane does not support the
    /// specification, or the store does not answer.
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
        self.submit(key, by, |app| command::deploy(app, spec.clone(), then.clone(), force, by)).await
    }

    /// Queues a deployment of the release that succeeded in the environment `from`, with the configuration of this one.
    ///
    /// # Errors
    /// If no release has succeeded there, or this environment requires more; otherwise as for [`Operations::deploy`].
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
        self.submit(key, by, |app| command::promote(app, &spec, then.clone(), &proven, by)).await
    }

    async fn submit(
        &self,
        key: &AppKey,
        by: &Requester,
        command: impl Fn(&mut Application) -> Result<HandedIn, CommandError>,
    ) -> Result<Deployment, OperationError> {
        loop {
            let before = self.shared.records.application(key).await?;
            let before = match before {
                Some(Versioned { record, revision }) => Versioned { record: Some(record), revision },
                None => Versioned { record: None, revision: 0 },
            };
            let mut app = before.record.clone().unwrap_or_else(|| Application::new(key.clone()));
            let HandedIn { release, deployment, superseded } = command(&mut app)?;
            let mut deployments = vec![Versioned { record: deployment.clone(), revision: 0 }];
            for number in superseded {
                if let Some(mut old) = self.shared.records.deployment(key, number).await? {
                    let newer = format!("deployment {} took its place", deployment.number);
                    let reason = Reason::new(Cause::Superseded, newer);
                    old.record.enter(Phase::Ended(Outcome::Cancelled(reason)), by.at);
                    deployments.push(old);
                }
            }
            if self.commit(&before, &app, Some(&release), &deployments).await? {
                return Ok(deployment);
            }
        }
    }

    /// Deploys a release that has succeeded in an environment into the next one, once. A promotion that has become
    /// pointless is dropped: the release is no longer live there, or the next environment requires more.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn promote_automatically(
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
                Err(error) => {
                    tracing::warn!(application = %to, from = %from.env, "promotion failed: {error}; skipped");
                }
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

    /// Rolls back to `release`, or without one to the release that was live before: reverts the active deployment, or
    /// deploys the earlier release again. Returns the deployment to follow.
    ///
    /// # Errors
    /// If there is no earlier release, a deployment before its cutover is active, or, without `force`, a migration
    /// prevents the rollback.
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
            if self.commit(&before, &app, None, &[Versioned { record: deployment.clone(), revision: 0 }]).await? {
                return Ok(deployment);
            }
        }
    }

    /// Ends the active deployment: cancels it before its cutover, reverts it after its cutover.
    ///
    /// # Errors
    /// If no deployment is active, or the active one is too far to be reverted.
    pub async fn abort(&self, key: &AppKey, by: &Requester) -> Result<Deployment, OperationError> {
        self.end_active(key, "aborted", by).await
    }

    /// Stops the application.
    ///
    /// # Errors
    /// If a deployment is active, or nothing is live.
    pub async fn stop(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, command::stop).await
    }

    /// Starts a stopped application.
    ///
    /// # Errors
    /// If the application has no release that was live.
    pub async fn start(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::start(app)).await
    }

    /// Turns maintenance mode on: a page answers all requests of the application.
    ///
    /// # Errors
    /// If maintenance mode is on already, or nothing is live.
    pub async fn begin_maintenance(
        &self,
        key: &AppKey,
        page: Option<String>,
        by: &Requester,
    ) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::begin_maintenance(app, page.clone(), by)).await
    }

    /// Turns maintenance mode off.
    ///
    /// # Errors
    /// If maintenance mode is off already.
    pub async fn end_maintenance(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, |app, _| command::end_maintenance(app)).await
    }

    /// Removes the application.
    ///
    /// # Errors
    /// If a deployment is active.
    pub async fn remove(&self, key: &AppKey) -> Result<Application, OperationError> {
        self.change(key, command::remove).await
    }

    /// Approves deployment `number`, which waits for an approval.
    ///
    /// # Errors
    /// If the deployment does not wait for an approval, or this person's approval does not count.
    pub async fn approve(&self, key: &AppKey, number: u64, by: &Requester) -> Result<Deployment, OperationError> {
        let release = self.deployment(key, number).await?.record.release;
        let rule = self.release(key, release).await?.spec.approval.clone();
        self.change_deployment(key, number, |deployment| command::approve(deployment, rule.as_ref(), by)).await
    }

    /// Rejects deployment `number`, which waits for an approval.
    ///
    /// # Errors
    /// If the deployment does not wait for an approval.
    pub async fn reject(
        &self,
        key: &AppKey,
        number: u64,
        reason: &str,
        by: &Requester,
    ) -> Result<Deployment, OperationError> {
        self.change_deployment(key, number, |deployment| command::reject(deployment, reason, by)).await
    }

    /// Steers the active canary.
    ///
    /// # Errors
    /// If no canary is active, or it is in that state already.
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
                    self.notify(key);
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
            if self.commit(&Versioned { record: Some(before), revision }, &app, None, &[]).await? {
                return Ok(app);
            }
        }
    }

    /// Commits a change; false if the record changed meanwhile.
    async fn commit(
        &self,
        before: &Versioned<Option<Application>>,
        app: &Application,
        release: Option<&Release>,
        deployments: &[Versioned<Deployment>],
    ) -> Result<bool, OperationError> {
        match self.shared.records.submit(before, app, release, deployments).await {
            Err(RecordError::Conflict) => Ok(false),
            Err(error) => {
                // The change may have been committed although its answer was lost.
                self.controllers.wake(&app.key);
                Err(error.into())
            }
            Ok(revision) => {
                self.shared.tables.set(app, revision);
                self.notify(&app.key);
                Ok(true)
            }
        }
    }

    /// Notifies clients that follow the application, and its controller.
    fn notify(&self, key: &AppKey) {
        let _ = self.shared.changes.send(key.clone());
        self.controllers.wake(key);
    }
}

//! The operations that people and programs request, as pure changes of the records: the server only has to commit them.
//! Each function either changes the record that it is given or returns the [`CommandError`] that refuses the operation.

mod refusal;

use crate::application::{Application, Claim, Desired, Maintenance, Promotion, Replica};
use crate::deployment::{Abort, Approval, Deployment, Kind, Outcome, Phase, Receipt, Rejection};
use crate::release::Origin;
use crate::spec::{ApprovalRule, Workload};
use crate::{AppKey, Artifacts, EnvName, PlacementId, Release, ServiceName, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use refusal::CommandError;

/// The author and the instant of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The name of the person or program.
    pub name: String,
    /// The instant of the operation.
    pub at: Timestamp,
    /// An unguessable text, used for example as preview token: the core draws no random numbers.
    pub secret: String,
}

/// The largest number of queued deployments of one application and environment.
pub const QUEUE_LENGTH_MAX: usize = 16;

/// A submitted release with its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The release.
    pub release: Release,
    /// The queued deployment of the release.
    pub deployment: Deployment,
    /// The numbers of the queued deployments that the new one replaces: the server records their end as cancelled in
    /// the same transaction.
    pub superseded: Vec<u64>,
}

/// Queues a deployment of a new release, which supersedes the queued ones. `force` skips the environments that `spec`
/// requires, and deploys even if the same release is live. After its success the release is promoted to those
/// environments of `then` that require this one.
///
/// # Errors
/// If the environment accepts only promotions, or the application is being removed.
pub fn deploy(
    app: &mut Application,
    spec: Arc<Spec>,
    then: Vec<Arc<Spec>>,
    force: bool,
    by: &Requester,
) -> Result<Submission, CommandError> {
    if !spec.requires.is_empty() && !force {
        return Err(CommandError::MustBePromoted { key: app.key.clone(), requires: spec.requires.clone() });
    }
    let mut submission = submit(app, spec, then, None, by)?;
    submission.deployment.forced = force;
    Ok(submission)
}

/// A release that has succeeded in an environment, and so can be promoted from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The environment and number of the release.
    pub origin: Origin,
    /// The workloads of its services, as written in the configuration.
    pub workloads: BTreeMap<ServiceName, Workload>,
    /// The resolved artifacts.
    pub artifacts: Artifacts,
}

/// The live release of an environment, if its deployment has succeeded. `deployment` is the one that made it live.
///
/// # Errors
/// If nothing is live, or the deployment has not succeeded (yet).
pub fn proven(app: &Application, deployment: Option<&Deployment>) -> Result<Proven, CommandError> {
    let not_proven = |why: String| CommandError::NotProven { key: app.key.clone(), why };
    let live = app.live_placement().filter(|_| app.desired == Desired::Running);
    let live = live.ok_or_else(|| not_proven("nothing is live there; run `gapless deploy` there first".to_owned()))?;
    let phase = deployment.map(|deployment| &deployment.phase);
    if !matches!(phase, Some(Phase::Ended(Outcome::Succeeded { .. }))) {
        let (number, phase) = (live.id.deployment, phase.map_or("gone", Phase::name));
        return Err(not_proven(format!("release {} is live there, but deployment {number} is {phase}", live.release)));
    }
    Ok(Proven {
        origin: Origin { env: app.key.env.clone(), release: live.release },
        workloads: live.spec.services.iter().map(|(name, service)| (name.clone(), service.workload.clone())).collect(),
        artifacts: live.artifacts.clone(),
    })
}

/// Queues a deployment of a release that has succeeded in another environment: the same artifacts with the
/// configuration of this environment. `proven` has the promoted release first, then the live releases of the other
/// environments that `spec` requires.
///
/// # Errors
/// If an environment that `spec` requires runs another release, if the services or runtimes differ, or if the
/// application is being removed.
pub fn promote(
    app: &mut Application,
    spec: &Spec,
    then: Vec<Arc<Spec>>,
    proven: &[Proven],
    by: &Requester,
) -> Result<Submission, CommandError> {
    let Some(promoted) = proven.first() else {
        return Err(CommandError::NotProven { key: app.key.clone(), why: "no release was given".to_owned() });
    };
    let from = |env: &EnvName| AppKey::new(app.key.app.clone(), env.clone());
    for env in &spec.requires {
        let there = proven.iter().find(|proven| proven.origin.env == *env);
        if there.is_none_or(|there| there.artifacts != promoted.artifacts) {
            let why = format!("{} requires the same release to be live in {env}, where another one is live", app.key);
            return Err(CommandError::NotProven { key: from(&promoted.origin.env), why });
        }
    }
    let mut spec = spec.clone();
    let not_proven = |why: String| Err(CommandError::NotProven { key: from(&promoted.origin.env), why });
    let (there, here): (Vec<_>, Vec<_>) = (promoted.workloads.keys().collect(), spec.services.keys().collect());
    if there != here {
        let join = |names: &[&ServiceName]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let (there, here) = (join(&there), join(&here));
        return not_proven(format!("its services are {there}, those of {} are {here}", app.key));
    }
    for (name, service) in &mut spec.services {
        match (&mut service.workload, promoted.workloads.get(name)) {
            (Workload::Docker(to), Some(Workload::Docker(from))) => to.image.clone_from(&from.image),
            (Workload::Process(to), Some(Workload::Process(from)))
            | (Workload::Systemd(to), Some(Workload::Systemd(from))) => {
                if let (Some(to), Some(from)) = (to.command.first_mut(), from.command.first()) {
                    to.clone_from(from);
                }
            }
            (here, there) => {
                let (here, there) = (here.runtime(), there.map_or("nothing", Workload::runtime));
                return not_proven(format!("service {name} runs by {there}, in {} by {here}", app.key));
            }
        }
    }
    submit(app, Arc::new(spec), then, Some(promoted), by)
}

fn submit(
    app: &mut Application,
    spec: Arc<Spec>,
    then: Vec<Arc<Spec>>,
    proven: Option<&Proven>,
    by: &Requester,
) -> Result<Submission, CommandError> {
    refuse_removed(app)?;
    app.last_release += 1;
    let release = Release {
        number: app.last_release,
        spec,
        artifacts: proven.map(|proven| proven.artifacts.clone()),
        promoted_from: proven.map(|proven| proven.origin.clone()),
        then,
        created_at: by.at,
        created_by: by.name.clone(),
    };
    let superseded = app.queue.drain(..).map(|claim| claim.deployment).collect();
    let deployment = enqueue(app, Kind::Deploy, &release, by);
    Ok(Submission { release, deployment, superseded })
}

/// The work that a rollback needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollback {
    /// The active deployment has passed its cutover and is reverted.
    RevertActive,
    /// The release is deployed again, by the fastest rollback path.
    Deploy {
        /// The number of the release.
        release: u64,
    },
}

/// Decides how to roll back to `release`, or without a number to the release that was live before. `force` allows a
/// rollback past migrations that nothing undoes.
///
/// # Errors
/// If there is no earlier release, the release is live, a deployment before its cutover is active, or a migration would
/// stay.
pub fn rollback(
    app: &Application,
    active: Option<&Deployment>,
    release: Option<u64>,
    force: bool,
) -> Result<Rollback, CommandError> {
    refuse_removed(app)?;
    let key = app.key.clone();
    let refuse_migrated = |release: u64, is_undone: bool| {
        let since = app.migrations.iter().filter(|done| done.release > release);
        let stuck = since.filter(|done| !is_undone || done.hook.back().is_none());
        let migrations: Vec<_> = stuck.map(|done| done.hook.name.clone()).collect();
        match migrations.is_empty() || force {
            true => Ok(()),
            false => Err(CommandError::PastMigration { key: key.clone(), release, migrations }),
        }
    };
    if let Some(active) = active {
        let goes_back_to = active.previous.map(|previous| previous.release);
        let is_cut_over =
            matches!(active.phase, Phase::Canary | Phase::Shifting | Phase::Observing) && active.kind == Kind::Deploy;
        return match goes_back_to {
            Some(previous) if is_cut_over && release.is_none_or(|wanted| wanted == previous) => {
                // A revert is instant and undoes no migration.
                refuse_migrated(previous, false)?;
                Ok(Rollback::RevertActive)
            }
            None if is_cut_over => Err(CommandError::NoEarlierRelease { key: key.clone() }),
            _ => Err(CommandError::Busy { key: key.clone(), deployment: active.number, phase: active.phase.name() }),
        };
    }
    let live = app.live_placement().map(|placement| placement.release);
    let Some(wanted) = release.or(app.previous_release) else {
        return Err(CommandError::NoEarlierRelease { key: key.clone() });
    };
    if live == Some(wanted) && app.desired == Desired::Running {
        return Err(CommandError::LiveAlready { key: key.clone(), release: wanted });
    }
    refuse_migrated(wanted, true)?;
    Ok(Rollback::Deploy { release: wanted })
}

/// Queues a deployment of an earlier release.
///
/// # Errors
/// If [`QUEUE_LENGTH_MAX`] deployments wait already, or the application is being removed.
pub fn redeploy(app: &mut Application, release: &Release, by: &Requester) -> Result<Deployment, CommandError> {
    refuse_removed(app)?;
    if app.queue.len() >= QUEUE_LENGTH_MAX {
        return Err(CommandError::QueueFull { key: app.key.clone(), count: app.queue.len() });
    }
    let mut deployment = enqueue(app, Kind::Rollback, release, by);
    let since = app.migrations.iter().filter(|done| done.release > release.number);
    deployment.undo_hooks = since.rev().filter_map(|done| done.hook.back()).collect();
    Ok(deployment)
}

/// Records a person's request to end a deployment: before its cutover it is cancelled, afterwards reverted. `verb` says
/// what the person did, such as `aborted`. A second request changes nothing.
///
/// # Errors
/// If the deployment has ended, or is too far for a revert.
pub fn abort(deployment: &mut Deployment, verb: &str, by: &Requester) -> Result<(), CommandError> {
    match deployment.phase {
        Phase::Ended(_) => Err(CommandError::Over {
            key: deployment.key.clone(),
            deployment: deployment.number,
            phase: deployment.phase.name(),
        }),
        Phase::Retiring | Phase::Reverting(_) | Phase::Failing(_) if deployment.abort.is_none() => {
            Err(CommandError::Busy {
                key: deployment.key.clone(),
                deployment: deployment.number,
                phase: deployment.phase.name(),
            })
        }
        _ => {
            let abort = || Abort { by: by.name.clone(), at: by.at, verb: verb.to_owned() };
            deployment.abort.get_or_insert_with(abort);
            Ok(())
        }
    }
}

/// Records an approval of a deployment that waits for one.
///
/// # Errors
/// If the deployment does not wait, or this person's approval does not count.
pub fn approve(deployment: &mut Deployment, rule: Option<&ApprovalRule>, by: &Requester) -> Result<(), CommandError> {
    refuse_unless_waiting(deployment)?;
    let (key, number) = (deployment.key.clone(), deployment.number);
    if rule.is_some_and(|rule| rule.by_others) && deployment.requested_by == by.name {
        return Err(CommandError::OwnDeployment { key, deployment: number, by: by.name.clone() });
    }
    if deployment.approvals.iter().any(|approval| approval.by == by.name) {
        let needed = rule.map_or(0, |rule| usize::from(rule.people));
        let missing = needed.saturating_sub(deployment.approvals.len());
        return Err(CommandError::ApprovedAlready { key, deployment: number, by: by.name.clone(), missing });
    }
    deployment.approvals.push(Approval { by: by.name.clone(), at: by.at });
    Ok(())
}

/// Refuses a deployment that waits for an approval.
///
/// # Errors
/// If the deployment does not wait for an approval.
pub fn reject(deployment: &mut Deployment, reason: &str, by: &Requester) -> Result<(), CommandError> {
    refuse_unless_waiting(deployment)?;
    deployment.rejection = Some(Rejection { by: by.name.clone(), at: by.at, reason: reason.to_owned() });
    Ok(())
}

/// A person's control of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Steer {
    /// No step ends by itself.
    Pause,
    /// Steps end by themselves again; the present step restarts.
    Resume,
    /// The next step starts now; after the last one, the cutover.
    Next,
    /// This share of the requests, in percent, until the canary is resumed or advanced.
    Weight(u8),
}

/// Applies a person's control to the canary of a deployment.
///
/// # Errors
/// If the deployment is in no canary step, or is in the requested state already.
pub fn steer(deployment: &mut Deployment, steer: Steer, by: &Requester) -> Result<(), CommandError> {
    let (key, number) = (deployment.key.clone(), deployment.number);
    let is_canary = deployment.phase == Phase::Canary && deployment.abort.is_none();
    let Some(progress) = deployment.canary.as_mut().filter(|_| is_canary) else {
        return Err(CommandError::NoCanary { key, deployment: number, phase: deployment.phase.name() });
    };
    let already = |how: String| Err(CommandError::SteeredAlready { key, deployment: number, how });
    match (steer, &progress.paused_by) {
        (Steer::Pause, Some(who)) => return already(format!("is already paused, by {who}")),
        (Steer::Pause, None) => progress.paused_by = Some(by.name.clone()),
        (Steer::Resume, None) => return already("is not paused".to_owned()),
        (Steer::Resume, Some(_)) => {
            // After a manual weight the canary resumes with the next larger step, once the present step has ended.
            (progress.paused_by, progress.since) = (None, by.at);
        }
        (Steer::Next, _) => progress.advance_requested = true,
        (Steer::Weight(weight), _) if weight > 99 => return Err(CommandError::Weight(weight)),
        (Steer::Weight(weight), _) => {
            (progress.weight, progress.by_hand, progress.since) = (weight, true, by.at);
            progress.paused_by = Some(by.name.clone());
        }
    }
    Ok(())
}

fn refuse_unless_waiting(deployment: &Deployment) -> Result<(), CommandError> {
    let (key, number) = (deployment.key.clone(), deployment.number);
    if deployment.phase != Phase::Approving || deployment.rejection.is_some() || deployment.abort.is_some() {
        return Err(CommandError::NotWaiting { key, deployment: number, phase: deployment.phase.name() });
    }
    Ok(())
}

/// Removes a promotion from the record: it has been carried out, or has no purpose any more.
pub fn end_promotion(app: &mut Application, promotion: &Promotion) {
    app.promotions.retain(|pending| pending != promotion);
}

/// Stops the application: requests are answered 503, and its instances stop once those in flight are finished.
///
/// # Errors
/// If a deployment is active, or nothing is live.
pub fn stop(app: &mut Application, active: Option<&Deployment>) -> Result<(), CommandError> {
    refuse_removed(app)?;
    refuse_busy(app, active)?;
    let Some(live) = app.live.and_then(|slot| app.slots.get_mut(&slot)) else {
        return Err(CommandError::NothingLive { key: app.key.clone() });
    };
    // After the next start its instances are in rotation once they have passed their checks, not before.
    live.replicas.iter_mut().for_each(Replica::leave_rotation);
    app.desired = Desired::Stopped;
    Ok(())
}

/// Starts a stopped application, with the release that was live.
///
/// # Errors
/// If nothing is live.
pub fn start(app: &mut Application) -> Result<(), CommandError> {
    refuse_removed(app)?;
    if app.live_placement().is_none() {
        return Err(CommandError::NothingLive { key: app.key.clone() });
    }
    app.desired = Desired::Running;
    Ok(())
}

/// Turns maintenance mode on: a page answers the application's requests, apart from health checks. Nothing of the
/// application stops.
///
/// # Errors
/// If maintenance mode is on, or nothing is live.
pub fn begin_maintenance(app: &mut Application, page: Option<String>, by: &Requester) -> Result<(), CommandError> {
    refuse_removed(app)?;
    if app.live_placement().is_none() {
        return Err(CommandError::NothingLive { key: app.key.clone() });
    }
    if app.maintenance.is_some() {
        return Err(CommandError::MaintainedAlready { key: app.key.clone(), is_on: true });
    }
    app.maintenance = Some(Maintenance { since: by.at, by: by.name.clone(), page });
    Ok(())
}

/// Turns maintenance mode off.
///
/// # Errors
/// If maintenance mode is off.
pub fn end_maintenance(app: &mut Application) -> Result<(), CommandError> {
    match app.maintenance.take() {
        Some(_) => Ok(()),
        None => Err(CommandError::MaintainedAlready { key: app.key.clone(), is_on: false }),
    }
}

/// Removes the application: its routes immediately, its instances once they are drained, and then its records.
/// Volumes stay. A second removal changes nothing.
///
/// # Errors
/// If a deployment is active.
pub fn remove(app: &mut Application, active: Option<&Deployment>) -> Result<(), CommandError> {
    refuse_busy(app, active)?;
    app.desired = Desired::Removed;
    Ok(())
}

fn refuse_removed(app: &Application) -> Result<(), CommandError> {
    match app.desired {
        Desired::Removed => Err(CommandError::BeingRemoved { key: app.key.clone() }),
        Desired::Running | Desired::Stopped => Ok(()),
    }
}

fn refuse_busy(app: &Application, active: Option<&Deployment>) -> Result<(), CommandError> {
    match active {
        Some(active) if !active.phase.is_end() => {
            Err(CommandError::Busy { key: app.key.clone(), deployment: active.number, phase: active.phase.name() })
        }
        _ => Ok(()),
    }
}

fn enqueue(app: &mut Application, kind: Kind, release: &Release, by: &Requester) -> Deployment {
    app.last_deployment += 1;
    let number = app.last_deployment;
    app.queue.push(Claim { deployment: number, hosts: release.spec.hosts() });
    Deployment {
        number,
        key: app.key.clone(),
        kind,
        forced: false,
        rollback_path: None,
        release: release.number,
        requested_by: by.name.clone(),
        requested_at: by.at,
        slot: None,
        previous: None,
        phase: Phase::Queued,
        phase_since: by.at,
        passed: Vec::new(),
        abort: None,
        preview_token: by.secret.clone(),
        gates: Vec::new(),
        hooks: Vec::new(),
        undo_hooks: Vec::new(),
        approvals: Vec::new(),
        rejection: None,
        canary: None,
        receipt: Receipt::default(),
    }
}

impl Deployment {
    /// The placement that the deployment filled, once it has a slot. A rollback to a release that still runs fills
    /// none.
    #[must_use]
    pub fn placement(&self) -> Option<PlacementId> {
        Some(PlacementId { key: self.key.clone(), slot: self.slot?, deployment: self.number })
    }
}

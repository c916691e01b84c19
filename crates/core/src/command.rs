//! What people ask for, as changes of the record: pure, so that the server only has to commit them.

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

/// Who asks, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// Who.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// A text that nobody can guess, for what is asked for to have as its own: the core draws no random numbers.
    pub secret: String,
}

/// How many deployments of one application and environment may wait.
pub const QUEUE_LENGTH_MAX: usize = 16;

/// A new release, and what follows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedIn {
    /// The release.
    pub release: Release,
    /// The deployment of it, which waits for its turn.
    pub deployment: Deployment,
    /// The numbers of the deployments that waited and are not carried out any more: to be ended as cancelled in the same
    /// transaction.
    pub superseded: Vec<u64>,
}

/// Queues a deployment of a new release; those that wait already are superseded. With `force` it goes past the
/// environments that it would have to succeed in before, and is carried out although the very same is live. Once it has
/// succeeded it goes on to those of the environments `then` that require this one.
///
/// # Errors
/// If the environment takes nothing but promotions, or the application is being removed.
pub fn deploy(
    app: &mut Application,
    spec: Arc<Spec>,
    then: Vec<Arc<Spec>>,
    force: bool,
    by: &Requester,
) -> Result<HandedIn, CommandError> {
    if !spec.requires.is_empty() && !force {
        return Err(CommandError::MustBePromoted { key: app.key.clone(), requires: spec.requires.clone() });
    }
    let mut handed_in = hand_in(app, spec, then, None, by)?;
    handed_in.deployment.forced = force;
    Ok(handed_in)
}

/// A release that has succeeded in an environment: what may be promoted from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Where it is live.
    pub origin: Origin,
    /// What its services run, as it was written.
    pub workloads: BTreeMap<ServiceName, Workload>,
    /// What exactly runs.
    pub artifacts: Artifacts,
}

/// What is live in an environment, if it has succeeded there. `deployment` is the one that put it there.
///
/// # Errors
/// If nothing is live, or it has not succeeded (yet).
pub fn proven(app: &Application, deployment: Option<&Deployment>) -> Result<Proven, CommandError> {
    let not_proven = |why: String| CommandError::NotProven { key: app.key.clone(), why };
    let live = app.live_placement().filter(|_| app.desired == Desired::Running);
    let live = live.ok_or_else(|| not_proven("nothing is live there".to_owned()))?;
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

/// Queues a deployment of what has succeeded elsewhere: the very same thing, with the configuration of this
/// environment. `proven` is first what is promoted, then what is live in the other environments that `spec` requires.
///
/// # Errors
/// If `spec` requires an environment in which something else is live, runs something of another kind, or the
/// application is being removed.
pub fn promote(
    app: &mut Application,
    spec: &Spec,
    then: Vec<Arc<Spec>>,
    proven: &[Proven],
    by: &Requester,
) -> Result<HandedIn, CommandError> {
    let Some(promoted) = proven.first() else {
        return Err(CommandError::NotProven { key: app.key.clone(), why: "nothing was said of it".to_owned() });
    };
    let from = |env: &EnvName| AppKey::new(app.key.app.clone(), env.clone());
    for env in &spec.requires {
        let there = proven.iter().find(|proven| proven.origin.env == *env);
        if there.is_none_or(|there| there.artifacts != promoted.artifacts) {
            let why = format!("{} requires it to be live in {env}, too, and something else is", app.key);
            return Err(CommandError::NotProven { key: from(&promoted.origin.env), why });
        }
    }
    let mut spec = spec.clone();
    let not_proven = |why: String| Err(CommandError::NotProven { key: from(&promoted.origin.env), why });
    let (there, here): (Vec<_>, Vec<_>) = (promoted.workloads.keys().collect(), spec.services.keys().collect());
    if there != here {
        let told = |names: &[&ServiceName]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let (there, here) = (told(&there), told(&here));
        return not_proven(format!("its services are {there} there, and {here} in {}", app.key));
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
                return not_proven(format!("it runs by {there} there, and by {here} in {}", app.key));
            }
        }
    }
    hand_in(app, Arc::new(spec), then, Some(promoted), by)
}

fn hand_in(
    app: &mut Application,
    spec: Arc<Spec>,
    then: Vec<Arc<Spec>>,
    proven: Option<&Proven>,
    by: &Requester,
) -> Result<HandedIn, CommandError> {
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
    Ok(HandedIn { release, deployment, superseded })
}

/// What a rollback comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollback {
    /// The active deployment, whose cutover is done, is taken back.
    RevertActive,
    /// That release is deployed again, by the fastest way there is.
    Deploy {
        /// The number of the release.
        release: u64,
    },
}

/// Decides what a rollback comes to: to `release`, or without one to the release that was live before. With `force` it
/// goes past migrations that nothing undoes.
///
/// # Errors
/// If there is nothing to go back to, the release is live, a deployment before its cutover is in the way, or what was
/// migrated since.
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
                // A revert is instant: it undoes nothing.
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
/// If too many wait already.
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

/// Notes that a person wants a deployment to end: before its cutover it is cancelled, after it taken back.
/// A second time changes nothing.
///
/// # Errors
/// If it is over, or so far that nothing is left to take back.
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

/// Approves a deployment that waits for it.
///
/// # Errors
/// If it does not wait, or this person's approval does not count.
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
/// If it does not wait for one.
pub fn reject(deployment: &mut Deployment, reason: &str, by: &Requester) -> Result<(), CommandError> {
    refuse_unless_waiting(deployment)?;
    deployment.rejection = Some(Rejection { by: by.name.clone(), at: by.at, reason: reason.to_owned() });
    Ok(())
}

/// What a person wants of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Steer {
    /// No step ends by itself.
    Pause,
    /// Steps end by themselves again; the present one begins anew.
    Resume,
    /// The next step begins now; after the last one, the cutover.
    Next,
    /// That share of the requests, in percent, until a person says otherwise.
    Weight(u8),
}

/// Steers the canary of a deployment.
///
/// # Errors
/// If it is in no canary step, or is so already.
pub fn steer(deployment: &mut Deployment, steer: Steer, by: &Requester) -> Result<(), CommandError> {
    let (key, number) = (deployment.key.clone(), deployment.number);
    let is_canary = deployment.phase == Phase::Canary && deployment.abort.is_none();
    let Some(progress) = deployment.canary.as_mut().filter(|_| is_canary) else {
        return Err(CommandError::NoCanary { key, deployment: number, phase: deployment.phase.name() });
    };
    let already = |how: String| Err(CommandError::SteeredAlready { key, deployment: number, how });
    match (steer, &progress.paused_by) {
        (Steer::Pause, Some(who)) => return already(format!("was paused by {who} already")),
        (Steer::Pause, None) => progress.paused_by = Some(by.name.clone()),
        (Steer::Resume, None) => return already("is not paused".to_owned()),
        (Steer::Resume, Some(_)) => {
            // With a weight by hand it goes on with the steps above it, once the present one has lasted.
            (progress.paused_by, progress.since) = (None, by.at);
        }
        (Steer::Next, _) => progress.goes_on = true,
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

/// Takes note that a promotion has been carried out, or has become pointless.
pub fn end_promotion(app: &mut Application, promotion: &Promotion) {
    app.promotions.retain(|pending| pending != promotion);
}

/// Lets the application rest: requests are answered 503, and once those in flight are finished its instances stop.
///
/// # Errors
/// If a deployment is under way, or nothing is live.
pub fn stop(app: &mut Application, active: Option<&Deployment>) -> Result<(), CommandError> {
    refuse_removed(app)?;
    refuse_busy(app, active)?;
    let Some(live) = app.live.and_then(|slot| app.slots.get_mut(&slot)) else {
        return Err(CommandError::NothingLive { key: app.key.clone() });
    };
    // Started again, its instances are in rotation once they have passed their checks, not before.
    live.replicas.iter_mut().for_each(Replica::leave_rotation);
    app.desired = Desired::Stopped;
    Ok(())
}

/// Lets a stopped application serve again, with the release that was live.
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

/// Puts the application under maintenance: its requests are answered by a page, apart from health checks. Nothing of it
/// stops.
///
/// # Errors
/// If it is, or nothing is live.
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

/// Ends the maintenance.
///
/// # Errors
/// If there is none.
pub fn end_maintenance(app: &mut Application) -> Result<(), CommandError> {
    match app.maintenance.take() {
        Some(_) => Ok(()),
        None => Err(CommandError::MaintainedAlready { key: app.key.clone(), is_on: false }),
    }
}

/// Removes the application: its routes at once, its instances once they are drained, and then its records.
/// Volumes stay. A second time changes nothing.
///
/// # Errors
/// If a deployment is under way.
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
    /// The placement that it fills, once it has a slot. A rollback that found its release still running filled none.
    #[must_use]
    pub fn placement(&self) -> Option<PlacementId> {
        Some(PlacementId { key: self.key.clone(), slot: self.slot?, deployment: self.number })
    }
}

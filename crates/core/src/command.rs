//! What people ask for, as changes of the record: pure, so that the server only has to commit them.

use crate::application::{Application, Claim, Desired, Replica};
use crate::deployment::{Abort, Deployment, Kind, Phase, Receipt};
use crate::{AppKey, PlacementId, Release, Spec, Timestamp};
use std::sync::Arc;

/// Why something that was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Another deployment is under way, and what was asked for would get into its way.
    #[error("deployment {deployment} of {key} is {phase}; wait for it, or end it with `gapless abort`")]
    Busy {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// Where it is.
        phase: &'static str,
    },
    /// There is nothing to abort.
    #[error("no deployment of {key} is under way")]
    NothingUnderWay {
        /// The application and environment.
        key: AppKey,
    },
    /// The deployment is over.
    #[error("deployment {deployment} of {key} is over: it {phase}")]
    Over {
        /// The application and environment.
        key: AppKey,
        /// The number of the deployment.
        deployment: u64,
        /// How it ended.
        phase: &'static str,
    },
    /// There is no earlier release.
    #[error("{key} has no earlier release to go back to")]
    NoEarlierRelease {
        /// The application and environment.
        key: AppKey,
    },
    /// The release is live already.
    #[error("release {release} of {key} is live already")]
    LiveAlready {
        /// The application and environment.
        key: AppKey,
        /// The release.
        release: u64,
    },
    /// Nothing of the application is live.
    #[error("nothing of {key} is live; `gapless deploy` it first")]
    NothingLive {
        /// The application and environment.
        key: AppKey,
    },
    /// The queue is full.
    #[error("{count} deployments of {key} wait already; try again when some are over")]
    QueueFull {
        /// The application and environment.
        key: AppKey,
        /// How many wait.
        count: usize,
    },
    /// The application is being removed.
    #[error("{key} is being removed; try again in a moment")]
    BeingRemoved {
        /// The application and environment.
        key: AppKey,
    },
}

/// Who asks, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// Who.
    pub name: String,
    /// When.
    pub at: Timestamp,
}

/// How many deployments of one application and environment may wait.
pub const QUEUE_LENGTH_MAX: usize = 16;

/// Queues a deployment of a new release. Deployments that wait already are superseded: their numbers come back in
/// `superseded`, and they are to be ended as cancelled in the same transaction.
///
/// # Errors
/// If the application is being removed.
pub fn deploy(
    app: &mut Application,
    spec: Arc<Spec>,
    by: &Requester,
) -> Result<(Release, Deployment, Vec<u64>), CommandError> {
    refuse_removed(app)?;
    app.last_release += 1;
    let release =
        Release { number: app.last_release, spec, artifact: None, created_at: by.at, created_by: by.name.clone() };
    let superseded = app.queue.drain(..).map(|claim| claim.deployment).collect();
    let deployment = enqueue(app, Kind::Deploy, &release, by);
    Ok((release, deployment, superseded))
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

/// Decides what a rollback comes to: to `release`, or without one to the release that was live before.
///
/// # Errors
/// If there is nothing to go back to, the release is live, or a deployment before its cutover is in the way.
pub fn rollback(
    app: &Application,
    active: Option<&Deployment>,
    release: Option<u64>,
) -> Result<Rollback, CommandError> {
    refuse_removed(app)?;
    let key = app.key.clone();
    if let Some(active) = active {
        let goes_back_to = active.previous.map(|previous| previous.release);
        let is_cut_over = matches!(active.phase, Phase::Shifting | Phase::Observing) && active.kind == Kind::Deploy;
        return match goes_back_to {
            Some(previous) if is_cut_over && release.is_none_or(|wanted| wanted == previous) => {
                Ok(Rollback::RevertActive)
            }
            None if is_cut_over => Err(CommandError::NoEarlierRelease { key }),
            _ => Err(CommandError::Busy { key, deployment: active.number, phase: active.phase.name() }),
        };
    }
    let live = app.live_placement().map(|placement| placement.release);
    let Some(wanted) = release.or(app.previous_release) else {
        return Err(CommandError::NoEarlierRelease { key });
    };
    if live == Some(wanted) && app.desired == Desired::Running {
        return Err(CommandError::LiveAlready { key, release: wanted });
    }
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
    Ok(enqueue(app, Kind::Rollback, release, by))
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
        Phase::Retiring | Phase::Reverting(_) if deployment.abort.is_none() => Err(CommandError::Busy {
            key: deployment.key.clone(),
            deployment: deployment.number,
            phase: deployment.phase.name(),
        }),
        _ => {
            let abort = || Abort { by: by.name.clone(), at: by.at, verb: verb.to_owned() };
            deployment.abort.get_or_insert_with(abort);
            Ok(())
        }
    }
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
        release: release.number,
        requested_by: by.name.clone(),
        requested_at: by.at,
        slot: None,
        previous: None,
        phase: Phase::Queued,
        phase_since: by.at,
        passed: Vec::new(),
        abort: None,
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

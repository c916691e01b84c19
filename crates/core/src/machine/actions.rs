//! The actions that a record asks for, and the instant of the next step.

use super::State;
use crate::application::{Application, Desired, Idle, KeptRelease, Placement};
use crate::deployment::Phase;
use crate::facts::{Facts, InstanceSeen};
use crate::gate;
use crate::hook::HookPoint;
use crate::planted;
use crate::{Action, Millis, Pace, RouteGroup, ServiceName, Timestamp};
use std::collections::BTreeMap;

/// The instances of a placement may be stopped: no data plane routes to it, and its requests have finished or used up
/// the drain deadline. A placement that was never routed needs no waiting.
pub(super) fn may_stop(app: &Application, placement: &Placement, facts: &Facts) -> bool {
    if !placement.was_routed {
        return true;
    }
    let wanted = RouteGroup::derive(app);
    let is_past_deadline = drain_ends(placement, facts).is_some_and(|deadline| facts.now >= deadline);
    let is_unrouted = facts.planes_behind(wanted.as_ref()).is_empty() || planted::stops_while_routed();
    is_unrouted && (facts.is_drained(&placement.id) || is_past_deadline || planted::stops_before_drain())
}

fn drain_ends(placement: &Placement, facts: &Facts) -> Option<Timestamp> {
    Some(facts.unrouted_since(&placement.id)?.after(placement.spec.timing.drain_timeout))
}

/// The actions that the record asks for.
pub(super) fn actions(state: &State, facts: &Facts) -> Vec<Action> {
    let app = &state.app;
    let mut actions = Vec::new();
    let is_unprepared = state.release.as_ref().is_some_and(|release| release.artifacts.is_none());
    if phase(state) == Some(&Phase::Preparing) && is_unprepared && facts.prepared.is_none() {
        actions.push(Action::Prepare);
    }
    actions.extend(gates(state, facts));
    actions.extend(hook(state, facts));
    actions.extend(app.promotions.iter().cloned().map(Action::Promote));
    let Some(instances) = &facts.instances else { return actions };
    let kept = kept(app);
    if !kept.is_empty() && app.desired != Desired::Removed {
        actions.push(Action::Keep(kept));
    }
    for placement in app.slots.values() {
        if Some(placement.id.slot) == app.live && app.desired != Desired::Running {
            stop(placement, app, facts, &mut actions);
        } else {
            run(placement, state, facts, &mut actions);
        }
    }
    for placement in &app.leaving {
        stop(placement, app, facts, &mut actions);
    }
    // Instances that the record does not name were left over by a crash.
    let orphans =
        instances.iter().filter(|(name, fact)| app.placement_of(name).is_none() && fact.state != InstanceSeen::Missing);
    let orphans = orphans.filter(|_| !planted::leaves_orphans());
    actions.extend(orphans.map(|(name, _)| Action::Stop { name: name.clone(), grace: Millis::from_secs(10) }));
    let is_empty = app.slots.is_empty() && app.leaving.is_empty() && app.active.is_none() && app.queue.is_empty();
    if app.desired == Desired::Removed && is_empty && actions.is_empty() {
        actions.push(Action::Forget);
    }
    actions
}

/// The releases to retain on the host: those in a slot, and the last ones that were live.
fn kept(app: &Application) -> Vec<KeptRelease> {
    let placed = app.slots.values().map(|placement| KeptRelease {
        release: placement.release,
        runtime: placement.spec.runtime().to_owned(),
        artifacts: placement.artifacts.clone(),
    });
    let all: BTreeMap<u64, KeptRelease> = app.kept.iter().cloned().chain(placed).map(|k| (k.release, k)).collect();
    all.into_values().collect()
}

/// The gates to run, once requests with the deployment's token reach its slot in every data plane.
fn gates(state: &State, facts: &Facts) -> Vec<Action> {
    let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return Vec::new() };
    let is_reached = || facts.planes_behind(RouteGroup::derive(&state.app).as_ref()).is_empty();
    if deployment.phase != Phase::Testing || !is_reached() {
        return Vec::new();
    }
    let attempt = |name: &str| {
        let report = deployment.gates.iter().find(|report| report.name == name);
        report.map_or(0, |report| report.attempts) + 1
    };
    let due = gate::due(&release.spec.gates, &deployment.gates).into_iter();
    due.map(|gate| Action::RunGate { name: gate.name.clone(), attempt: attempt(&gate.name) }).collect()
}

/// The hook that this run of the server started and that has not ended. A hook whose phase is over is stopped.
fn hook(state: &State, facts: &Facts) -> Option<Action> {
    let deployment = state.deployment.as_ref()?;
    let report =
        deployment.hooks.last().filter(|report| report.result.is_none() && report.started_by == facts.server)?;
    let is_its_time = match deployment.phase {
        Phase::Preparing => report.at == HookPoint::BeforeStart,
        Phase::Migrating => matches!(report.at, HookPoint::BeforeCutover | HookPoint::Held),
        Phase::Observing => report.at == HookPoint::AfterCutover,
        Phase::Retiring => report.at == HookPoint::AfterSuccess,
        Phase::Failing(_) => report.at == HookPoint::OnFailure,
        _ => false,
    };
    is_its_time.then(|| Action::RunHook(report.name.clone()))
}

/// Keeps the instances of a placement in a slot running, checked, and frozen or resumed.
fn run(placement: &Placement, state: &State, facts: &Facts, actions: &mut Vec<Action>) {
    let app = &state.app;
    let is_live = app.live == Some(placement.id.slot);
    let is_candidate = !is_live && placement.idle == Idle::Candidate;
    let is_standby = !is_live && matches!(placement.idle, Idle::Standby { .. });
    let is_judged = matches!(phase(state), Some(Phase::Canary | Phase::Shifting | Phase::Observing));
    let is_to_park = matches!(placement.idle, Idle::Standby { park: true, .. });
    let may_freeze = is_standby && is_to_park && may_stop(app, placement, facts);
    for replica in &placement.replicas {
        let name = placement.name_of(replica);
        let Some(fact) = facts.instance(&name) else { continue };
        let may_start = match fact.state {
            InstanceSeen::Running { .. } | InstanceSeen::Frozen { .. } => false,
            // A candidate that exited has failed. A standby that exited starts again with the rollback that needs it.
            InstanceSeen::Exited { .. } => !is_candidate && !is_standby && facts.now >= fact.restart_at,
            InstanceSeen::Missing | InstanceSeen::Created | InstanceSeen::Interrupted => {
                !is_standby && facts.now >= fact.restart_at
            }
        };
        let has_failed_for_good = is_candidate && fact.start_error.is_some();
        if may_start && !has_failed_for_good && !is_port_in_use(placement, app) {
            actions.push(Action::Start(name.clone()));
        }
        let exists = matches!(fact.state, InstanceSeen::Running { .. } | InstanceSeen::Frozen { .. });
        // Under judgement no restart policy is set, so that the runtime cannot hide an exit. A frozen instance gets its
        // policy, too: otherwise it would run again beside the live slot after a reboot.
        if exists && !is_candidate && !is_judged {
            actions.push(Action::SetRestart {
                name: name.clone(),
                comes_back: is_live || planted::restarts_all_at_boot(),
            });
        }
        if matches!(fact.state, InstanceSeen::Running { .. }) {
            if may_freeze {
                actions.push(Action::Freeze(name));
                continue;
            }
            if placement.service(&replica.service).is_some_and(|service| service.health.path.is_some()) {
                actions.push(Action::Probe { pace: pace(placement, &replica.service, state, is_live), name });
            }
        } else if matches!(fact.state, InstanceSeen::Frozen { .. }) && !is_standby {
            actions.push(Action::Thaw(name));
        }
    }
}

fn pace(placement: &Placement, service: &ServiceName, state: &State, is_live: bool) -> Pace {
    let replicas = || placement.replicas.iter().filter(|replica| replica.service == *service);
    let is_out = replicas().any(|replica| !replica.in_rotation);
    match phase(state) {
        Some(Phase::Checking) if !is_live && placement.idle == Idle::Candidate => Pace::Eager,
        _ if is_live && is_out => Pace::Eager,
        Some(Phase::Shifting | Phase::Observing) if is_live => Pace::Close,
        Some(Phase::Canary) if placement.share.is_some() => Pace::Close,
        _ if is_live && replicas().count() > 1 => Pace::Close,
        _ => Pace::Steady,
    }
}

/// An earlier placement in the same slot still has the fixed ports that this one needs.
fn is_port_in_use(placement: &Placement, app: &Application) -> bool {
    let has_fixed_port =
        |placement: &Placement| placement.spec.services.values().any(|service| service.host_ports.is_some());
    has_fixed_port(placement)
        && app.leaving.iter().any(|leaving| has_fixed_port(leaving) && leaving.id.slot == placement.id.slot)
}

fn stop(placement: &Placement, app: &Application, facts: &Facts, actions: &mut Vec<Action>) {
    if !may_stop(app, placement, facts) {
        return;
    }
    let exists =
        |name: &crate::InstanceName| facts.instance(name).is_some_and(|fact| fact.state != InstanceSeen::Missing);
    let grace = placement.spec.timing.stop_timeout;
    actions.extend(placement.instances().filter(exists).map(|name| Action::Stop { name, grace }));
}

/// The next instant at which time alone changes something.
pub(super) fn wake_at(state: &State, facts: &Facts) -> Option<Timestamp> {
    let standby_ends = state.app.slots.values().filter_map(|placement| match placement.idle {
        Idle::Standby { until, .. } => Some(until),
        _ => None,
    });
    let drains_end = state.app.placements().filter_map(|placement| drain_ends(placement, facts));
    let restarts = facts
        .instances
        .iter()
        .flat_map(|instances| instances.values())
        .filter_map(|fact| (!fact.state.is_running_or_frozen()).then_some(fact.restart_at));
    let hold_ends = state
        .app
        .hold
        .iter()
        .flat_map(|held| [held.settings.drain, held.settings.timeout].map(|limit| held.since.after(limit)));
    let instants = standby_ends.chain(drains_end).chain(hold_ends).chain(restarts).chain(phase_deadline(state));
    let instants = instants.chain(checks_end(state));
    instants.filter(|instant| *instant > facts.now).min()
}

/// The instants at which instances have run long enough, or must have passed their checks.
fn checks_end(state: &State) -> impl Iterator<Item = Timestamp> {
    let checked = state.deployment.as_ref().filter(|deployment| deployment.phase == Phase::Checking);
    let checked = checked.zip(state.release.as_ref());
    checked.into_iter().flat_map(|(deployment, release)| {
        let services = release.spec.services.values();
        services.flat_map(|service| {
            [service.health.settle, service.health.deadline].map(|limit| deployment.phase_since.after(limit))
        })
    })
}

fn phase_deadline(state: &State) -> Option<Timestamp> {
    let deployment = state.deployment.as_ref()?;
    let spec = &state.release.as_ref()?.spec;
    let limit = match deployment.phase {
        Phase::Queued | Phase::Checking | Phase::Ended(_) => return None,
        Phase::Preparing => spec.timing.prepare_timeout,
        Phase::Starting => spec.timing.start_timeout,
        // Gates and hooks have their own deadlines.
        Phase::Testing | Phase::Migrating | Phase::Failing(_) => return None,
        Phase::Approving => spec.approval.as_ref()?.expires,
        Phase::Canary => {
            let (canary, progress) = (spec.strategy.canary()?, deployment.canary.as_ref()?);
            let step = canary.steps.get(usize::from(progress.step))?;
            let pause = step.pause.filter(|_| progress.paused_by.is_none()).unwrap_or(canary.expires);
            return Some(progress.since.after(pause));
        }
        Phase::Shifting => spec.timing.shift_timeout,
        Phase::Observing => spec.timing.observe,
        Phase::Retiring | Phase::Reverting(_) => spec.timing.drain_timeout,
    };
    Some(deployment.phase_since.after(limit))
}

fn phase(state: &State) -> Option<&Phase> {
    state.deployment.as_ref().map(|deployment| &deployment.phase)
}

//! The upkeep of the record with or without a deployment: the rotation of instances, the end of standbys, and the
//! removal of placements that are gone.

use super::{State, actions};
use crate::application::{Application, Desired, Idle, Placement};
use crate::facts::{Facts, InstanceSeen};
use crate::spec::Service;
use crate::{ServiceName, Slot, Timestamp};

/// Updates the record from the facts.
pub(super) fn reconcile(state: &mut State, facts: &Facts) {
    let app = &mut state.app;
    end_standby(app, facts.now);
    if app.desired == Desired::Removed && app.active.is_none() {
        Slot::ALL.into_iter().for_each(|slot| app.vacate(slot));
    }
    forget_stopped(app, facts);
    note_parked(app, facts);
    let live = app.live;
    let is_running = app.desired == Desired::Running;
    for (slot, placement) in &mut app.slots {
        let is_idle_and_routed = placement.idle == Idle::Fallback || placement.share.is_some();
        let is_routed = is_running && (Some(*slot) == live || is_idle_and_routed);
        if is_routed && placement.checked {
            rotate(placement, facts);
        }
    }
}

fn end_standby(app: &mut Application, now: Timestamp) {
    for slot in Slot::ALL {
        let is_over = app.live != Some(slot)
            && app.slots.get(&slot).is_some_and(|placement| match placement.idle {
                Idle::Standby { until, .. } => now >= until || app.desired != Desired::Running,
                Idle::Candidate | Idle::Fallback => false,
            });
        if is_over {
            app.vacate(slot);
        }
    }
}

fn note_parked(app: &mut Application, facts: &Facts) {
    for placement in app.slots.values_mut() {
        let seen: Option<Vec<_>> = placement.instances().map(|name| facts.instance(&name)).collect();
        if let Some(seen) = seen {
            placement.parked = seen.iter().all(|fact| matches!(fact.state, InstanceSeen::Frozen { .. }));
        }
    }
}

/// Removes leaving placements from the record once all of their instances are gone.
fn forget_stopped(app: &mut Application, facts: &Facts) {
    let is_gone = |placement: &Placement| {
        actions::may_stop(app, placement, facts)
            && placement
                .instances()
                .all(|name| matches!(facts.instance(&name).map(|fact| fact.state), Some(InstanceSeen::Missing)))
    };
    let gone: Vec<_> = app.leaving.iter().filter(|placement| is_gone(placement)).map(|p| p.id.clone()).collect();
    app.leaving.retain(|placement| !gone.contains(&placement.id));
}

/// Takes instances out of rotation that do not run or fail their checks, and back in once they pass. The last running
/// instance of a service stays in rotation whatever its checks say: a doubtful answer is better than none.
fn rotate(placement: &mut Placement, facts: &Facts) {
    let spec = placement.spec.clone();
    for (name, service) in &spec.services {
        rotate_service(placement, name, service, facts);
    }
}

fn rotate_service(placement: &mut Placement, name: &ServiceName, service: &Service, facts: &Facts) {
    let id = placement.id.clone();
    let mut replicas: Vec<_> = placement.replicas.iter_mut().filter(|replica| replica.service == *name).collect();
    let seen = replicas.iter().map(|replica| facts.instance(&id.instance(name, replica.number)));
    let Some(seen) = seen.collect::<Option<Vec<_>>>() else { return };
    let health = &service.health;
    let before: Vec<_> = replicas.iter().map(|replica| (**replica).clone()).collect();
    for (replica, fact) in replicas.iter_mut().zip(&seen) {
        let (address, run) = match &fact.state {
            InstanceSeen::Running { address, run } => (address, run),
            // Resumes in a moment: if all are frozen, requests wait for that.
            InstanceSeen::Frozen { run } if replica.run.as_ref() == Some(run) => {
                replica.in_rotation = false;
                continue;
            }
            _ => {
                replica.leave_rotation();
                continue;
            }
        };
        let is_same_run = replica.run.as_ref() == Some(run);
        let was_in_rotation = replica.in_rotation && is_same_run;
        replica.in_rotation = match was_in_rotation {
            _ if health.path.is_none() => true,
            true => fact.health.failures < health.failures,
            false => fact.health.passes >= health.passes,
        };
        replica.address = Some(*address);
        replica.run = Some(run.clone());
    }
    if replicas.iter().any(|replica| replica.in_rotation) {
        return;
    }
    for (replica, before) in replicas.iter_mut().zip(&before) {
        replica.in_rotation = before.in_rotation && replica.run.is_some() && replica.run == before.run;
    }
}

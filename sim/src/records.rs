//! Checks every revision of the records, and its difference from the previous one.

use crate::timeline::Source;
use crate::world::{State, World};
use gapless_core::application::Desired;
use gapless_core::deployment::Kind;
use gapless_core::{Application, Deployment, Phase, RouteGroup};
use gapless_server::records::{APPLICATIONS, DEPLOYMENTS, deployment_key};
use gapless_store::Op;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The records after the last change.
#[derive(Clone, Default)]
pub(crate) struct RecordJudge(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    apps: BTreeMap<String, Application>,
    deployments: BTreeMap<String, Deployment>,
}

impl RecordJudge {
    /// Checks a committed transaction.
    pub(crate) fn check(&self, ops: &[Op], world: &World) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = world.lock();
        for op in ops {
            if let Op::Put(key, value) = op
                && key.starts_with(DEPLOYMENTS)
            {
                match serde_json::from_slice::<Deployment>(value) {
                    Ok(next) => {
                        deployment(seen.deployments.get(key), &next, &mut world);
                        seen.deployments.insert(key.clone(), next);
                    }
                    Err(error) => world.violate(format!("{key} is no valid record of a deployment: {error}")),
                }
            }
        }
        for op in ops {
            match op {
                Op::Put(key, value) if key.starts_with(APPLICATIONS) => {
                    match serde_json::from_slice::<Application>(value) {
                        Ok(next) => {
                            let before = seen.apps.get(key);
                            let active = before.and_then(|app| app.active.as_ref()).or(next.active.as_ref());
                            let at = active.map(|claim| deployment_key(&next.key, claim.deployment));
                            application(before, &next, at.and_then(|at| seen.deployments.get(&at)), &mut world);
                            seen.apps.insert(key.clone(), next);
                        }
                        Err(error) => world.violate(format!("{key} is no valid record of an application: {error}")),
                    }
                }
                Op::Delete(key) => {
                    // A new application with this name starts again with the same numbers.
                    seen.apps.remove(key).iter().for_each(|app| world.forget(&app.key));
                    seen.deployments.remove(key);
                }
                Op::Put(..) => {}
            }
        }
    }
}

fn deployment(before: Option<&Deployment>, next: &Deployment, world: &mut State) {
    let Some(before) = before else {
        let (key, number, kind) = (&next.key, next.number, next.kind);
        return world
            .log(Source::Record, || format!("{key} deployment {number}: {kind:?} of release {}", next.release));
    };
    if before.phase != next.phase {
        let (was, is) = (before.phase.name(), next.phase.name());
        world.log(Source::Record, || format!("{} deployment {}: {was} → {is}", next.key, next.number));
        if before.phase.is_end() {
            world.violate(format!("{} deployment {}, which {was}, is {is} now", next.key, next.number));
        }
    }
}

fn application(before: Option<&Application>, next: &Application, active: Option<&Deployment>, world: &mut State) {
    let key = &next.key;
    if next.live.is_some() && next.live_placement().is_none_or(|live| !live.checked) {
        world.violate(format!("{key}: the live slot has no placement that has passed its checks"));
    }
    let derived = RouteGroup::derive(next);
    let routed = derived.iter().flat_map(|group| group.placements()).map(|slot| slot.placement.clone());
    world.recorded.extend(routed);
    let weights: u32 = derived.iter().flat_map(|group| &group.slots).map(|slot| slot.weight).sum();
    if weights != 0 && weights != 100 {
        world.violate(format!("{key}: the slots have {weights} % of the requests"));
    }
    let Some(before) = before else { return };
    if next.last_deployment < before.last_deployment || next.last_release < before.last_release {
        world.violate(format!("{key}: a recorded change is lost"));
    }
    let (was, is) = (before.live_placement().map(|live| &live.id), next.live_placement().map(|live| &live.id));
    if was == is {
        return;
    }
    let number = active.map_or(0, |active| active.number);
    let Some(is) = is else {
        let is_its_own = was.is_some_and(|was| was.deployment == number);
        let has_nothing_before = active.is_some_and(|active| active.previous.is_none());
        if next.desired != Desired::Removed && !(is_its_own && has_nothing_before) {
            world.violate(format!("{key}: nothing is live any more"));
        }
        return;
    };
    world.log(Source::Record, || format!("{key}: {is} is live"));
    let Some(active) = active else { return world.violate(format!("{key}: {is} becomes live without a deployment")) };
    let previous = active.previous.as_ref().map(|previous| (previous.slot, previous.deployment));
    match active.phase {
        Phase::Shifting if active.slot == Some(is.slot) => {
            let spec = next.live_placement().map(|live| live.spec.clone()).filter(|_| active.kind == Kind::Deploy);
            let Some(spec) = spec else { return };
            // Reads the reports instead of the core's own rule, which is under test.
            let passed = |name: &str| active.gates.iter().any(|report| report.name == name && report.result.passed);
            if !spec.gates.iter().all(|gate| passed(&gate.name)) {
                world.violate(format!("{key}: deployment {number} is live without having passed its gates"));
            }
            if spec.approval.as_ref().is_some_and(|rule| !rule.is_met(active)) {
                world.violate(format!("{key}: deployment {number} is live without its approval"));
            }
        }
        Phase::Reverting(_) | Phase::Failing(_) | Phase::Ended(_) if previous == Some((is.slot, is.deployment)) => {}
        _ => world.violate(format!("{key}: {is} becomes live while deployment {number} is {}", active.phase.name())),
    }
}

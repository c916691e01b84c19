//! A deployment in a step of the state machine, with the queries and changes that all phases share.

use crate::application::{Application, Desired, Placement};
use crate::deployment::{Cause, Deployment, Kind, Phase, Reason, RollbackPath};
use crate::facts::{Facts, InstanceSeen};
use crate::{Artifacts, Millis, Release, RouteGroup, Slot};

/// A deployment and everything that a step reads or changes.
pub(super) struct Transition<'a> {
    pub(super) app: &'a mut Application,
    pub(super) deployment: &'a mut Deployment,
    pub(super) release: &'a mut Release,
    pub(super) facts: &'a Facts,
}

impl Transition<'_> {
    pub(super) fn enter(&mut self, phase: Phase) {
        self.count_traffic();
        self.deployment.enter(phase, self.facts.now);
    }

    pub(super) fn is_late(&self, limit: Millis) -> bool {
        self.facts.now >= self.deployment.phase_since.after(limit)
    }

    pub(super) fn abort_reason(&self) -> Option<Reason> {
        let abort = self.deployment.abort.as_ref()?;
        Some(Reason::new(Cause::Aborted, format!("{} by {}", abort.verb, abort.by)))
    }

    pub(super) fn placement(&self) -> Option<&Placement> {
        self.app.slots.get(&self.deployment.slot?)
    }

    pub(super) fn with_placement(&mut self, change: impl FnOnce(&mut Placement)) {
        if let Some(placement) = self.deployment.slot.and_then(|slot| self.app.slots.get_mut(&slot)) {
            change(placement);
        }
    }

    pub(super) fn planes_behind(&self) -> Vec<String> {
        let wanted = RouteGroup::derive(self.app);
        self.facts.planes_behind(wanted.as_ref()).into_iter().map(str::to_owned).collect()
    }

    /// The path of a rollback to its release: by whether the release's instances still run, or are frozen, in `slot`.
    pub(super) fn rollback_path(&self, slot: Slot) -> Option<RollbackPath> {
        if self.deployment.kind != Kind::Rollback {
            return None;
        }
        let kept = self.app.slots.get(&slot);
        let Some(kept) = kept.filter(|kept| kept.checked && kept.release == self.release.number) else {
            return Some(RollbackPath::Started);
        };
        let mut way = RollbackPath::Running;
        for replica in &kept.replicas {
            let fact = self.facts.instance(&kept.name_of(replica));
            match fact.map(|fact| fact.state) {
                Some(InstanceSeen::Running { run, .. }) if Some(&run) == replica.run.as_ref() => {}
                Some(InstanceSeen::Frozen { run }) if Some(&run) == replica.run.as_ref() => way = RollbackPath::Parked,
                _ => return Some(RollbackPath::Started),
            }
        }
        Some(way)
    }

    /// The number of the live release, if it equals this one and the deployment is neither forced nor a rollback.
    pub(super) fn is_live_already(&self, artifacts: &Artifacts) -> Option<u64> {
        let live = self.app.live_placement().filter(|_| self.app.desired == Desired::Running)?;
        let is_same = live.artifacts == *artifacts && live.spec == self.release.spec;
        let is_wanted = self.deployment.kind == Kind::Rollback || self.deployment.forced;
        (is_same && !is_wanted).then_some(live.release)
    }
}

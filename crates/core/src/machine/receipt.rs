//! The request counts of a deployment's receipt, taken at the end of each phase.

use super::transition::Transition;
use crate::PlacementId;
use crate::deployment::{Kind, Phase, Traffic};
use crate::hook::HookPoint;

impl Transition<'_> {
    /// The placement that was live at the start of the deployment.
    fn previous_placement(&self) -> Option<PlacementId> {
        let previous = self.deployment.previous?;
        Some(PlacementId { key: self.app.key.clone(), slot: previous.slot, deployment: previous.deployment })
    }

    pub(super) fn traffic_of_previous(&self) -> Traffic {
        let previous = self.previous_placement();
        previous.and_then(|id| self.facts.traffic.get(&id).copied()).unwrap_or_default()
    }

    pub(super) fn traffic_of_new(&self) -> Traffic {
        let id = self.placement().map(|placement| &placement.id);
        id.and_then(|id| self.facts.traffic.get(id).copied()).unwrap_or_default()
    }

    /// Starts the count of users' requests: the earlier requests of a new release came from its tests.
    pub(super) fn count_from_here(&mut self) {
        if self.deployment.kind == Kind::Deploy {
            self.deployment.receipt.baseline_new = self.traffic_of_new();
        }
    }

    pub(super) fn in_flight_at_previous(&self) -> Option<u64> {
        let id = self.previous_placement()?;
        let views = self.facts.planes.iter().filter_map(|plane| plane.view.as_ref()?.in_flight.as_ref());
        Some(views.map(|counts| counts.get(&id).copied().unwrap_or(0)).sum())
    }

    pub(super) fn count_traffic(&mut self) {
        self.deployment.receipt.artifacts.clone_from(&self.release.artifacts);
        let judged = self.facts.judged.clone();
        match self.deployment.phase {
            Phase::Canary => self.deployment.receipt.canary = judged,
            Phase::Observing => self.deployment.receipt.observed = judged,
            _ => {}
        }
        let (old, new) = (self.traffic_of_previous(), self.traffic_of_new());
        let held = self.facts.held;
        let has_held = self.deployment.hooks.iter().any(|report| report.at == HookPoint::Held);
        let receipt = &mut self.deployment.receipt;
        if has_held && held.count > receipt.baseline_held {
            receipt.held = held.count - receipt.baseline_held;
            (receipt.held_longest_us, receipt.held_release_us) = (held.longest_us, held.release_us);
        }
        // The counts restart with their data plane; the receipt then keeps its last numbers.
        if old != Traffic::default() {
            receipt.old = old.since(receipt.baseline_old);
        }
        if new != Traffic::default() {
            receipt.new = new.since(receipt.baseline_new);
        }
    }
}

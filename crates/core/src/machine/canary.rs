//! The steps of a canary: a share of the requests goes to the new slot while the old one is still live.

use super::transition::Transition;
use crate::deployment::{CanaryProgress, Cause, Phase, Reason};
use crate::strategy::Canary;

impl Transition<'_> {
    /// Sends the first share of the requests to the new slot.
    pub(super) fn start_canary(&mut self, canary: &Canary) {
        let weight = canary.steps.first().map_or(1, |step| step.weight);
        let since = self.facts.now;
        self.deployment.canary =
            Some(CanaryProgress { step: 0, weight, since, paused_by: None, by_hand: false, advance_requested: false });
        self.share(weight);
        self.enter(Phase::Canary);
    }

    pub(super) fn canary(&mut self) {
        if let Some(reason) = self.abort_reason().or_else(|| self.verdict()) {
            return self.revert(reason);
        }
        let Some(canary) = self.release.spec.strategy.canary().cloned() else { return self.cutover() };
        let Some(mut progress) = self.deployment.canary.clone() else { return self.cutover() };
        let step = canary.steps.get(usize::from(progress.step));
        let behind = self.planes_behind();
        let is_over = step.and_then(|step| step.pause).is_some_and(|pause| {
            progress.paused_by.is_none() && behind.is_empty() && self.facts.now >= progress.since.after(pause)
        });
        if progress.advance_requested || is_over {
            // A manual weight never decreases by itself: the next step is the first one with a larger weight.
            let next = canary.steps.iter().enumerate().skip(usize::from(progress.step) + 1);
            let mut next = next.filter(|(_, step)| !progress.by_hand || step.weight > progress.weight);
            let Some((index, step)) = next.next() else { return self.cutover() };
            progress = CanaryProgress {
                step: u16::try_from(index).unwrap_or(u16::MAX),
                weight: step.weight,
                since: self.facts.now,
                paused_by: None,
                by_hand: false,
                advance_requested: false,
            };
        } else if self.facts.now >= progress.since.after(canary.expires) {
            let limit = canary.expires;
            let message = format!("nobody continued the canary within {limit} (strategy.expires)");
            return self.revert(Reason::new(Cause::Expired, message));
        } else if !behind.is_empty() && self.facts.now >= progress.since.after(self.release.spec.timing.shift_timeout) {
            let (behind, limit) = (behind.join(", "), self.release.spec.timing.shift_timeout);
            let message = format!("data plane {behind} did not apply the step within {limit} (deploy.shift_timeout)");
            return self.revert(Reason::new(Cause::Shift, message));
        }
        self.share(progress.weight);
        self.deployment.canary = Some(progress);
    }

    fn share(&mut self, weight: u8) {
        self.with_placement(|placement| {
            placement.share = Some(weight);
            placement.was_routed = true;
            placement.preview = None;
        });
    }
}

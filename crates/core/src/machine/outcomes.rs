//! The ends of a deployment: it fails before its cutover, is reverted after it, or succeeds.

use super::transition::Transition;
use crate::application::{KeptRelease, Promotion};
use crate::deployment::{Cause, Kind, Outcome, Phase, Reason};
use crate::planted;

impl Transition<'_> {
    pub(super) fn fail(&mut self, cause: Cause, message: impl Into<String>) {
        self.end_before_cutover(Outcome::Failed(Reason::new(cause, message)));
    }

    pub(super) fn end_before_cutover(&mut self, outcome: Outcome) {
        if let Some(slot) = self.deployment.slot {
            self.app.vacate(slot);
        }
        self.end(outcome);
    }

    /// Reverts the cutover: a single change of the record makes the previous slot live again.
    pub(super) fn revert(&mut self, mut reason: Reason) {
        let Some(slot) = self.deployment.slot else { return };
        if let Some(names) = self.migrations_not_undone() {
            reason.message.push_str(&format!(" (migrations that are not undone: {names})"));
        }
        self.count_traffic();
        self.app.vacate(slot);
        if let Some(previous) = self.deployment.previous
            && self.app.slots.contains_key(&previous.slot)
            && !planted::forgets_live_on_revert()
        {
            self.app.live = Some(previous.slot);
        }
        self.enter(Phase::Reverting(reason));
    }

    pub(super) fn succeed(&mut self, warning: Option<String>) {
        let previous = self.deployment.previous.map(|previous| previous.release);
        if previous.is_some_and(|release| release != self.release.number) {
            self.app.previous_release = previous;
        }
        self.keep_release();
        self.note_promotions();
        self.end(Outcome::Succeeded { warning });
    }

    /// Records the automatic promotions of the release to other environments.
    fn note_promotions(&mut self) {
        if self.deployment.kind == Kind::Deploy {
            let here = &self.app.key.env;
            let then = self.release.then.iter().filter(|spec| spec.requires.contains(here));
            let release = self.release.number;
            self.app.promotions = then.map(|spec| Promotion { to: spec.env.clone(), release }).collect();
        }
    }

    /// Retains the release on the host, with the most recent ones before it.
    fn keep_release(&mut self) {
        let Some(artifacts) = self.release.artifacts.clone() else { return };
        let (release, spec) = (self.release.number, &self.release.spec);
        let runtime = spec.runtime().to_owned();
        self.app.kept.retain(|kept| kept.release != release);
        self.app.kept.insert(0, KeptRelease { release, runtime, artifacts });
        self.app.kept.truncate(usize::from(spec.timing.keep).max(1));
    }
}

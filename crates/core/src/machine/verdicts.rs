//! The verdicts on a release: failed instances, requests that do not reach it, and the finding of the judge.

use super::transition::Transition;
use crate::application::{Placement, Replica};
use crate::deployment::{Cause, Kind, Reason};
use crate::facts::InstanceSeen;
use crate::planted;
use crate::{Millis, RouteGroup};

/// Ends the message of a missed deadline, if the state of the instances was unknown.
pub(super) const RUNTIME_IS_AWAY: &str = "; the runtime does not answer: run `gapless doctor` to see why";

impl Transition<'_> {
    /// The deadline of a health check that has not passed yet, and its last finding; `None` once it has passed.
    pub(super) fn pending_check(&self, placement: &Placement, replica: &Replica) -> Option<(Millis, String)> {
        let check = &placement.service(&replica.service)?.health;
        let fact = self.facts.instance(&placement.name_of(replica));
        let has_passed = match &fact {
            // Only passes in this phase count: a slot that was kept for a rollback is checked again.
            Some(fact) if check.path.is_some() => {
                let is_new = fact.health.passed_at >= self.deployment.phase_since || planted::counts_old_passes();
                fact.health.passes >= check.passes && is_new
            }
            Some(fact) => matches!(fact.state, InstanceSeen::Running { .. }) && self.is_late(check.settle),
            None => false,
        };
        if fact.is_none() {
            return Some((check.deadline, format!("its state is unknown{RUNTIME_IS_AWAY}")));
        }
        let seen = fact.and_then(|fact| fact.health.last_failure).unwrap_or_else(|| match check.path {
            Some(_) => "no check was answered".to_owned(),
            None => "it is not running".to_owned(),
        });
        (!has_passed && !planted::skips_health_checks()).then_some((check.deadline, seen))
    }

    /// The reason to revert the slot that gets requests, if there is one. A rollback is never reverted.
    pub(super) fn verdict(&self) -> Option<Reason> {
        if self.deployment.kind == Kind::Rollback {
            return None;
        }
        let placement = self.placement()?;
        // While the runtime is away, or an instance that it ended is not back, failed requests say nothing of the
        // release.
        let is_interrupted =
            |name| self.facts.instance(&name).is_none_or(|fact| matches!(fact.state, InstanceSeen::Interrupted));
        if placement.instances().any(is_interrupted) {
            return None;
        }
        self.instance_failure(placement, true).or_else(|| self.unreachable(placement)).or_else(|| {
            let breach = self.facts.judged.as_ref()?.breach.clone()?;
            Some(Reason::new(Cause::Judged, breach))
        })
    }

    /// The reason that a data plane sends the placement no more requests, because too many in a row could not be sent.
    fn unreachable(&self, placement: &Placement) -> Option<Reason> {
        // Without an instance in rotation no request can be sent.
        if !placement.replicas.iter().any(|replica| replica.in_rotation) {
            return None;
        }
        let wanted = RouteGroup::derive(self.app);
        let views = self.facts.planes.iter().filter_map(|plane| plane.view.as_ref());
        // Each table starts a new count in the data plane.
        let views = views.filter(|view| view.group.as_deref() == wanted.as_ref());
        let count = views.filter_map(|view| view.circuit_open.get(&placement.id)).max()?;
        let message =
            format!("{count} requests in a row could not be sent to the new release; they went to the old one");
        Some(Reason::new(Cause::Unreachable, message))
    }

    /// The first failure of an instance of the placement. Failed health checks count once the placement is live; before
    /// that they are a normal part of the start. An instance that its runtime ended counts only before the cutover: see
    /// [`Transition::verdict`].
    pub(super) fn instance_failure(&self, placement: &Placement, is_live: bool) -> Option<Reason> {
        placement.replicas.iter().find_map(|replica| {
            let name = placement.name_of(replica);
            let fact = self.facts.instance(&name)?;
            let failures_max = placement.service(&replica.service).map_or(u16::MAX, |it| it.health.failures);
            match fact.state {
                InstanceSeen::Exited { out_of_memory, details } => {
                    Some(Reason::new(exit_cause(out_of_memory), details))
                }
                InstanceSeen::Missing => Some(Reason::new(Cause::Exited, format!("{name} no longer exists"))),
                InstanceSeen::Created => Some(Reason::new(Cause::Exited, format!("{name} is no longer running"))),
                // A parked instance that is about to resume.
                InstanceSeen::Frozen { .. } => None,
                InstanceSeen::Interrupted => {
                    Some(Reason::new(Cause::Exited, format!("{name} was ended by its runtime, which was away")))
                }
                InstanceSeen::Running { run, .. } if replica.run.as_ref().is_some_and(|known| *known != run) => {
                    Some(Reason::new(Cause::Exited, format!("{name} exited and was started again")))
                }
                InstanceSeen::Running { .. } if is_live && fact.health.failures >= failures_max => {
                    let seen = fact.health.last_failure.unwrap_or_default();
                    let failures = fact.health.failures;
                    Some(Reason::new(
                        Cause::Unhealthy,
                        format!("{name} failed {failures} health checks in a row: {seen}"),
                    ))
                }
                InstanceSeen::Running { .. } => None,
            }
        })
    }
}

/// The cause to record for an exit.
pub(super) const fn exit_cause(out_of_memory: bool) -> Cause {
    if out_of_memory { Cause::OutOfMemory } else { Cause::Exited }
}

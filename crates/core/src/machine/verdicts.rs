//! What speaks against a release: instances that are not well, requests that do not reach it, and the judge's verdict.

use super::transition::Transition;
use crate::application::{Placement, Replica};
use crate::deployment::{Cause, Kind, Reason};
use crate::facts::InstanceSeen;
use crate::planted;
use crate::{Millis, RouteGroup};

/// What is said beside a deadline that passed while nothing was known of the instances.
pub(super) const RUNTIME_IS_AWAY: &str = "; what runs them does not answer: `gapless doctor` says why";

impl Transition<'_> {
    /// Until when an instance that has not passed its checks yet has to, and what was seen of it.
    pub(super) fn is_ill(&self, placement: &Placement, replica: &Replica) -> Option<(Millis, String)> {
        let check = &placement.service(&replica.service)?.health;
        let fact = self.facts.instance(&placement.name_of(replica));
        let is_well = match &fact {
            // A pass of before this phase does not count: a slot that was kept for rollback is checked anew.
            Some(fact) if check.path.is_some() => {
                let is_new = fact.health.passed_at >= self.deployment.phase_since || planted::counts_old_passes();
                fact.health.passes >= check.passes && is_new
            }
            Some(fact) => matches!(fact.state, InstanceSeen::Running { .. }) && self.is_late(check.settle),
            None => false,
        };
        if fact.is_none() {
            return Some((check.deadline, format!("nothing was seen of it{RUNTIME_IS_AWAY}")));
        }
        let seen = fact.and_then(|fact| fact.health.last_failure).unwrap_or_else(|| match check.path {
            Some(_) => "no check was answered".to_owned(),
            None => "it does not run".to_owned(),
        });
        (!is_well && !planted::skips_health_checks()).then_some((check.deadline, seen))
    }

    /// What speaks against the slot that requests go to now, unless a person put it there.
    pub(super) fn judgement(&self) -> Option<Reason> {
        if self.deployment.kind == Kind::Rollback {
            return None;
        }
        let placement = self.placement()?;
        // While the runtime is away, or what it has ended is not back, what requests meet says nothing of the release.
        let is_interrupted =
            |name| self.facts.instance(&name).is_none_or(|fact| matches!(fact.state, InstanceSeen::Interrupted));
        if placement.instances().any(is_interrupted) {
            return None;
        }
        self.bad_sign(placement, true).or_else(|| self.given_up(placement)).or_else(|| {
            let breach = self.facts.judged.as_ref()?.breach.clone()?;
            Some(Reason::new(Cause::Judged, breach))
        })
    }

    /// Whether a data plane has given it up, because requests could not be sent there.
    fn given_up(&self, placement: &Placement) -> Option<Reason> {
        // Where none of it is in rotation, there is nothing to send requests to.
        if !placement.replicas.iter().any(|replica| replica.in_rotation) {
            return None;
        }
        let wanted = RouteGroup::derive(self.app);
        let views = self.facts.planes.iter().filter_map(|plane| plane.view.as_ref());
        // Each table is a new chance.
        let views = views.filter(|view| view.group.as_deref() == wanted.as_ref());
        let count = views.filter_map(|view| view.given_up.get(&placement.id)).max()?;
        let message = format!("{count} requests in a row could not be sent to it; they went to the old release");
        Some(Reason::new(Cause::Unreachable, message))
    }

    /// The first sign that an instance of the placement is not well. Failed health checks count once it is live; before
    /// that they are what a start looks like. What its runtime ended is a sign before the cutover only: see `judgement`.
    pub(super) fn bad_sign(&self, placement: &Placement, is_live: bool) -> Option<Reason> {
        placement.replicas.iter().find_map(|replica| {
            let name = placement.name_of(replica);
            let fact = self.facts.instance(&name)?;
            let failures_max = placement.service(&replica.service).map_or(u16::MAX, |it| it.health.failures);
            match fact.state {
                InstanceSeen::Exited { out_of_memory, story } => Some(Reason::new(exit_cause(out_of_memory), story)),
                InstanceSeen::Missing => Some(Reason::new(Cause::Exited, format!("{name} is gone"))),
                InstanceSeen::Created => Some(Reason::new(Cause::Exited, format!("{name} does not run any more"))),
                // It was parked, and is about to go on.
                InstanceSeen::Frozen { .. } => None,
                InstanceSeen::Interrupted => {
                    Some(Reason::new(Cause::Exited, format!("{name} was ended by what runs it, which was away")))
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

/// What it is called when an instance has exited.
pub(super) const fn exit_cause(out_of_memory: bool) -> Cause {
    if out_of_memory { Cause::OutOfMemory } else { Cause::Exited }
}

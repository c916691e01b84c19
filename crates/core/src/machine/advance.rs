//! The phases of a deployment: [`advance`] has an arm for each row of the table in `ARCHITECTURE.md`, and each arm is a
//! method below, in the order in which a deployment passes through them. `cutover` makes the new slot live.

use super::State;
use super::hooks::Hooks;
use super::transition::Transition;
use super::verdicts::{RUNTIME_IS_AWAY, exit_cause};
use crate::PlacementId;
use crate::application::{Desired, Idle, Placement};
use crate::deployment::{Cause, Kind, Outcome, Phase, Previous, Reason, RollbackPath};
use crate::facts::{Facts, InstanceSeen};
use crate::gate::{self, GateReport};
use crate::hook::HookPoint;
use crate::planted;

/// Advances the deployment by at most one phase, as far as the facts allow.
pub(super) fn advance(state: &mut State, facts: &Facts) {
    let State { app, deployment: Some(deployment), release: Some(release) } = state else { return };
    let mut transition = Transition { app, deployment, release, facts };
    match transition.deployment.phase.clone() {
        Phase::Queued => transition.queued(),
        Phase::Preparing => transition.preparing(),
        Phase::Starting => transition.starting(),
        Phase::Checking => transition.checking(),
        Phase::Testing => transition.testing(),
        Phase::Approving => transition.approving(),
        Phase::Migrating => transition.migrating(),
        Phase::Canary => transition.canary(),
        Phase::Shifting => transition.shifting(),
        Phase::Observing => transition.observing(),
        Phase::Retiring => transition.retiring(),
        Phase::Reverting(reason) => transition.reverting(reason),
        Phase::Failing(outcome) => transition.failing(outcome),
        Phase::Ended(_) => {}
    }
}

impl Transition<'_> {
    /// Waits for its turn, then takes the idle slot. A rollback whose release still runs there continues with its
    /// checks.
    fn queued(&mut self) {
        let number = self.deployment.number;
        if let Some(reason) = self.abort_reason() {
            self.app.queue.retain(|claim| claim.deployment != number);
            return self.enter(Phase::Ended(Outcome::Cancelled(reason)));
        }
        let is_next = self.app.queue.first().is_some_and(|claim| claim.deployment == number);
        if self.app.active.is_some() || !is_next {
            return;
        }
        self.app.active = Some(self.app.queue.remove(0));
        let slot = self.app.idle_slot();
        self.deployment.slot = Some(slot);
        self.deployment.previous = self.app.live_placement().map(|live| Previous {
            slot: live.id.slot,
            release: live.release,
            deployment: live.id.deployment,
        });
        self.deployment.receipt.baseline_old = self.traffic_of_previous();
        let path = self.rollback_path(slot);
        self.deployment.rollback_path = path;
        if matches!(path, Some(RollbackPath::Running | RollbackPath::Parked)) {
            self.deployment.receipt.baseline_new = self.traffic_of_new();
            if let Some(placement) = self.app.slots.get_mut(&slot) {
                placement.idle = Idle::Candidate;
            }
            return self.enter(Phase::Checking);
        }
        self.app.vacate(slot);
        self.enter(Phase::Preparing);
    }

    /// Resolves and fetches the release, runs the hooks before the start, and places the release in the idle slot.
    fn preparing(&mut self) {
        if let Some(reason) = self.abort_reason() {
            return self.end_before_cutover(Outcome::Cancelled(reason));
        }
        // Artifacts are resolved once for a release, by its first deployment. So a rollback needs no registry, and a
        // tag that was moved meanwhile changes nothing.
        let prepared = self.release.artifacts.clone().map(Ok).or_else(|| self.facts.prepared.clone());
        match prepared {
            Some(Ok(artifacts)) => {
                let Some(slot) = self.deployment.slot else { return };
                if let Some(release) = self.is_live_already(&artifacts) {
                    self.release.artifacts = Some(artifacts);
                    return self.end(Outcome::Unchanged { release });
                }
                self.release.artifacts = Some(artifacts.clone());
                match self.hooks(HookPoint::BeforeStart) {
                    Hooks::Running => return,
                    Hooks::Failed(reason) => return self.fail(reason.cause, reason.message),
                    Hooks::Done => {}
                }
                let id = PlacementId { key: self.app.key.clone(), slot, deployment: self.deployment.number };
                let spec = self.release.spec.clone();
                let mut placement = Placement::candidate(id, self.release.number, spec, artifacts);
                placement.secret.clone_from(&self.deployment.preview_token);
                self.app.slots.insert(slot, placement);
                self.enter(Phase::Starting);
            }
            Some(Err(why)) => self.fail(Cause::Prepare, why),
            None if self.is_late(self.release.spec.timing.prepare_timeout) => {
                let limit = self.release.spec.timing.prepare_timeout;
                self.fail(
                    Cause::Prepare,
                    format!("the release was not fetched within {limit} (deploy.prepare_timeout)"),
                );
            }
            None => {}
        }
    }

    /// Waits until all instances run.
    fn starting(&mut self) {
        if let Some(reason) = self.abort_reason() {
            return self.end_before_cutover(Outcome::Cancelled(reason));
        }
        let Some(placement) = self.placement() else { return };
        let mut replicas = placement.replicas.clone();
        let mut are_all_running = true;
        for replica in &mut replicas {
            let Some(fact) = self.facts.instance(&placement.name_of(replica)) else {
                are_all_running = false;
                continue;
            };
            if let Some(error) = fact.start_error {
                return self.fail(Cause::Start, error);
            }
            match fact.state {
                InstanceSeen::Running { address, run } => {
                    replica.address = Some(address);
                    replica.run = Some(run);
                }
                InstanceSeen::Exited { out_of_memory, details } => {
                    return self.fail(exit_cause(out_of_memory), details);
                }
                InstanceSeen::Missing
                | InstanceSeen::Created
                | InstanceSeen::Frozen { .. }
                | InstanceSeen::Interrupted => are_all_running = false,
            }
        }
        if are_all_running {
            self.with_placement(|placement| placement.replicas = replicas);
            self.enter(Phase::Checking);
        } else if self.is_late(self.release.spec.timing.start_timeout) {
            let limit = self.release.spec.timing.start_timeout;
            let unknown = if self.facts.instances.is_none() { RUNTIME_IS_AWAY } else { "" };
            let message = format!("the instances did not start within {limit} (deploy.start_timeout){unknown}");
            self.fail(Cause::Start, message);
        }
    }

    /// Waits until every instance has passed its health check in this phase.
    fn checking(&mut self) {
        if let Some(reason) = self.abort_reason() {
            return self.end_before_cutover(Outcome::Cancelled(reason));
        }
        let Some(placement) = self.placement() else { return };
        if let Some(Reason { cause, message }) = self.instance_failure(placement, false) {
            return self.fail(cause, message);
        }
        let pending = placement.replicas.iter();
        let pending: Vec<_> =
            pending.filter_map(|replica| Some((replica, self.pending_check(placement, replica)?))).collect();
        if let Some((replica, (limit, seen))) = pending.iter().find(|(_, (limit, _))| self.is_late(*limit)) {
            let which = match placement.spec.has_several_services() {
                true => format!("{} is ", replica.service),
                false => String::new(),
            };
            let message = format!("{which}not healthy within {limit} (health.deadline): {seen}");
            self.fail(Cause::Unhealthy, message);
        } else if pending.is_empty() {
            self.with_placement(|placement| {
                placement.checked = true;
                placement.replicas.iter_mut().for_each(|replica| replica.in_rotation = true);
            });
            self.proceed_to_cutover();
        }
    }

    /// Enters the next phase before the cutover that is still due, or makes the cutover. A rollback skips gates,
    /// approvals and canary steps, because its release has passed them before.
    fn proceed_to_cutover(&mut self) {
        let spec = &self.release.spec;
        let is_forward = self.deployment.kind == Kind::Deploy;
        if is_forward && !gate::all_passed(&spec.gates, &self.deployment.gates) {
            self.open_preview();
            self.enter(Phase::Testing);
        } else if is_forward
            && spec.approval.as_ref().is_some_and(|rule| !rule.is_met(self.deployment))
            && !planted::skips_approvals()
        {
            self.open_preview();
            self.enter(Phase::Approving);
        } else if self.has_hooks_before_cutover() {
            self.enter(Phase::Migrating);
        } else {
            self.start_shift();
        }
    }

    /// Sends requests to the new slot: the first share if it has a canary and an old slot serves beside it, else all.
    pub(super) fn start_shift(&mut self) {
        self.count_from_here();
        let is_served = self.app.desired == Desired::Running && self.app.live_placement().is_some();
        match self.release.spec.strategy.canary().cloned() {
            Some(canary) if self.deployment.kind == Kind::Deploy && is_served => self.start_canary(&canary),
            _ => self.cutover(),
        }
    }

    /// Routes requests with the deployment's token, and no others, to the new slot.
    fn open_preview(&mut self) {
        let token = self.deployment.preview_token.clone();
        self.with_placement(|placement| {
            placement.preview = Some(token);
            placement.was_routed = true;
        });
    }

    /// Records the results of the gates, until all have passed or one has failed.
    fn testing(&mut self) {
        if self.ends_while_waiting() {
            return;
        }
        let gates = &self.release.spec.gates;
        for gate in gate::due(gates, &self.deployment.gates).into_iter().map(|gate| gate.name.clone()) {
            let Some(end) = self.facts.gates.get(&gate) else { continue };
            let reports = &mut self.deployment.gates;
            let known = reports.iter_mut().find(|report| report.name == gate);
            if end.attempt != known.as_ref().map_or(0, |report| report.attempts) + 1 {
                continue;
            }
            let (until, result) = (self.facts.now, end.result.clone());
            match known {
                Some(report) => {
                    (report.attempts, report.until, report.result) = (end.attempt, until, result);
                }
                None => reports.push(GateReport { name: gate, attempts: end.attempt, since: end.since, until, result }),
            }
        }
        if let Some(report) = gate::failed(gates, &self.deployment.gates) {
            let mut message = format!("gate {} failed: {}", report.name, report.result.summary);
            if !report.result.lines.is_empty() {
                message.push_str("; its last lines:");
                report.result.lines.iter().for_each(|line| {
                    message.push_str("\n  ");
                    message.push_str(line);
                });
            }
            return self.fail(Cause::Gate, message);
        }
        if gate::all_passed(gates, &self.deployment.gates) {
            self.proceed_to_cutover();
        }
    }

    /// Waits for the approvals.
    fn approving(&mut self) {
        if self.ends_while_waiting() {
            return;
        }
        let Some(rule) = self.release.spec.approval.clone() else { return self.proceed_to_cutover() };
        if let Some(rejection) = &self.deployment.rejection {
            let message = format!("{} refused the deployment: {}", rejection.by, rejection.reason);
            self.fail(Cause::Rejected, message);
        } else if rule.is_met(self.deployment) {
            self.proceed_to_cutover();
        } else if self.is_late(rule.expires) && !planted::never_expires_approvals() {
            let (given, needed) = (self.deployment.approvals.len(), rule.people);
            let message = format!("{given} of {needed} people approved it within {} (approval.expires)", rule.expires);
            self.fail(Cause::Expired, message);
        }
    }

    /// Ends a deployment that waits with its release ready, if a person requested the end or an instance has failed.
    /// Returns true if it has ended.
    pub(super) fn ends_while_waiting(&mut self) -> bool {
        if let Some(reason) = self.abort_reason() {
            self.end_before_cutover(Outcome::Cancelled(reason));
            return true;
        }
        let failure = self.placement().and_then(|placement| self.instance_failure(placement, true));
        let has_failed = failure.is_some();
        if let Some(Reason { cause, message }) = failure {
            self.fail(cause, message);
        }
        has_failed
    }

    /// **The cutover.** A single change of the record, committed in one transaction: from here on new requests belong
    /// to the other slot. Everything afterwards only makes the data planes apply it.
    pub(super) fn cutover(&mut self) {
        let Some(slot) = self.deployment.slot else { return };
        let now = self.facts.now;
        let old_slot_becomes = match self.deployment.kind {
            Kind::Deploy => Idle::Fallback,
            // A person left that release, so it is no fallback for requests.
            Kind::Rollback => self.standby(),
        };
        if let Some(old) = self.app.live.and_then(|live| self.app.slots.get_mut(&live)) {
            old.idle = old_slot_becomes;
        }
        self.with_placement(|new| {
            new.was_routed = true;
            new.preview = None;
            new.share = None;
        });
        self.app.hold = None;
        self.app.live = Some(slot);
        self.app.desired = Desired::Running;
        self.deployment.receipt.cutover_at = Some(now);
        self.enter(Phase::Shifting);
    }

    /// Waits until every data plane has applied the cutover.
    fn shifting(&mut self) {
        if let Some(reason) = self.abort_reason().or_else(|| self.verdict()) {
            return self.revert(reason);
        }
        let behind = self.planes_behind();
        if behind.is_empty() {
            self.deployment.receipt.cutover_us = self.facts.cutover_us;
            self.deployment.receipt.in_flight_at_cutover = self.in_flight_at_previous();
            match self.deployment.kind {
                Kind::Deploy => self.enter(Phase::Observing),
                Kind::Rollback => self.enter(Phase::Retiring),
            }
        } else if self.is_late(self.release.spec.timing.shift_timeout) {
            let message = format!(
                "data plane {} did not apply the cutover within {} (deploy.shift_timeout)",
                behind.join(", "),
                self.release.spec.timing.shift_timeout
            );
            match self.deployment.kind {
                Kind::Deploy => self.revert(Reason::new(Cause::Shift, message)),
                // A person's decision stands; the syncer retries until the data plane applies it.
                Kind::Rollback => self.succeed(Some(message)),
            }
        }
    }

    /// Observes the new slot and runs the hooks after the cutover. A bad verdict or a failed hook reverts the cutover.
    fn observing(&mut self) {
        if let Some(reason) = self.abort_reason().or_else(|| self.verdict()) {
            return self.revert(reason);
        }
        match self.hooks(HookPoint::AfterCutover) {
            Hooks::Running => return,
            Hooks::Failed(reason) => return self.revert(reason),
            Hooks::Done => {}
        }
        if self.is_late(self.release.spec.timing.observe) {
            let standby = self.standby();
            if let Some(previous) = self.deployment.previous
                && let Some(old) = self.app.slots.get_mut(&previous.slot)
            {
                old.idle = standby;
            }
            self.enter(Phase::Retiring);
        }
    }

    /// The standby of the old slot, with the timing of the release that replaced it.
    fn standby(&self) -> Idle {
        let timing = &self.release.spec.timing;
        Idle::Standby { until: self.facts.now.after(timing.keep_warm), park: timing.park }
    }

    /// Runs the hooks after success, and waits until the old slot has left the routes of every data plane.
    fn retiring(&mut self) {
        let warning = match self.hooks(HookPoint::AfterSuccess) {
            Hooks::Running => return,
            Hooks::Failed(reason) => Some(reason.message),
            Hooks::Done => None,
        };
        let behind = self.planes_behind();
        if behind.is_empty() {
            self.succeed(warning);
        } else if self.is_late(self.release.spec.timing.drain_timeout) {
            let behind = behind.join(", ");
            let late = format!("data plane {behind} still routes to the old slot, which is stopped once that ends");
            self.succeed(Some(warning.map_or_else(|| late.clone(), |warning| format!("{warning}; {late}"))));
        }
    }

    /// Waits until every data plane has applied the revert.
    fn reverting(&mut self, mut reason: Reason) {
        let behind = self.planes_behind();
        if !behind.is_empty() {
            if !self.is_late(self.release.spec.timing.drain_timeout) {
                return;
            }
            reason.message.push_str(&format!(" (data plane {} has not applied the revert yet)", behind.join(", ")));
        }
        self.end(Outcome::Reverted(reason));
    }
}

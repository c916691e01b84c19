//! Every wait has an end: the effect of each deadline, to the millisecond, and its message.

use super::*;
use crate::deployment::Reason;

impl World {
    fn outcome(&self, number: u64) -> (&'static str, String) {
        let phase = &self.deployments[&number].phase;
        let message = match phase {
            Phase::Ended(Outcome::Failed(why) | Outcome::Cancelled(why) | Outcome::Reverted(why))
            | Phase::Reverting(why) => why.message.clone(),
            Phase::Ended(Outcome::Succeeded { warning }) => warning.clone().unwrap_or_default(),
            _ => String::new(),
        };
        (phase.name(), message)
    }

    /// Asserts that the phase ends exactly `limit` after its start.
    fn assert_ends_after(&mut self, number: u64, limit: Millis) {
        let (since, phase) = (self.deployments[&number].phase_since, self.outcome(number).0);
        self.facts.now = Timestamp(since.after(limit).0 - 1);
        self.settle();
        assert_eq!(self.outcome(number).0, phase, "a millisecond too early");
        self.facts.now = since.after(limit);
        self.settle();
        assert_ne!(self.outcome(number).0, phase);
    }

    /// Carries out the actions while every data plane keeps its routes.
    fn carry_out_without_routes(&mut self, actions: &[Action]) {
        let planes = self.facts.planes.clone();
        self.carry_out(actions);
        self.facts.planes = planes;
    }
}

#[test]
fn deployment_fails_when_release_is_not_fetched_in_time() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.facts.prepared = None;
    world.settle();
    assert_eq!(world.outcome(number).0, "preparing");
    world.assert_ends_after(number, spec(1).timing.prepare_timeout);
    assert_eq!(world.outcome(number).0, "failed");
    assert!(world.outcome(number).1.contains("within 10m00s (deploy.prepare_timeout)"), "{:?}", world.outcome(number));
}

#[test]
fn deployment_fails_when_instances_do_not_start_in_time() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.run_until_phase(number, "starting");
    world.assert_ends_after(number, spec(1).timing.start_timeout);
    assert!(world.outcome(number).1.contains("within 1m00s (deploy.start_timeout)"), "{:?}", world.outcome(number));
}

#[test]
fn exit_during_start_fails_deployment_with_its_details() {
    for (out_of_memory, cause) in [(false, Cause::Exited), (true, Cause::OutOfMemory)] {
        let mut world = World::live(1);
        let number = world.deploy(1);
        world.run_until_phase(number, "starting");
        let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
        world.run(&name, Timestamp(1));
        let exited = InstanceSeen::Exited { out_of_memory, details: "it is gone".into() };
        world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap().state = exited;
        world.settle();
        let failed = Phase::Ended(Outcome::Failed(Reason::new(cause, "it is gone")));
        assert_eq!(world.deployments[&number].phase, failed);
    }
}

#[test]
fn cutover_reverts_when_data_plane_does_not_apply_it_in_time() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.run_until_phase(number, "shifting");
    assert_eq!(world.app.live, Some(crate::Slot::Green));
    world.assert_ends_after(number, spec(1).timing.shift_timeout);
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
    let why = "data plane builtin did not apply the cutover within 10 s (deploy.shift_timeout)";
    assert_eq!(world.outcome(number), ("reverted", why.to_owned()), "no data plane has to apply the revert");
}

#[test]
fn rollback_succeeds_with_warning_when_data_plane_is_late() {
    let mut world = World::live(1);
    world.deploy(1);
    world.run_until_done();
    world.rollback();
    let number = world.app.queue[0].deployment;
    world.run_until_phase(number, "shifting");
    world.assert_ends_after(number, spec(1).timing.shift_timeout);
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
    let (phase, warning) = world.outcome(number);
    assert!(phase == "succeeded" && warning.contains("did not apply the cutover"), "{warning}");
}

#[test]
fn retiring_ends_with_warning_when_data_plane_keeps_old_routes() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    let since = world.deployments[&number].phase_since;
    let actions = world.settle();
    world.carry_out(&actions);
    world.facts.now = since.after(spec(1).timing.observe);
    let actions = world.settle();
    assert_eq!(world.outcome(number).0, "retiring");
    world.carry_out_without_routes(&actions);
    world.assert_ends_after(number, spec(1).timing.drain_timeout);
    let warning = "data plane builtin still routes to the old slot, which is stopped once that ends";
    assert_eq!(world.outcome(number), ("succeeded", warning.to_owned()));
}

#[test]
fn observation_lasts_its_configured_time() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    world.assert_ends_after(number, spec(1).timing.observe);
}

#[test]
fn observation_reverts_when_instance_is_another_run() {
    let run = |run: &str| InstanceSeen::Running { address: "127.0.0.1:9000".parse().unwrap(), run: run.into() };
    for (state, why) in [
        (InstanceSeen::Missing, "no longer exists"),
        (InstanceSeen::Created, "is no longer running"),
        (run("another"), "exited and was started again"),
    ] {
        let mut world = World::live(1);
        let number = world.deploy(1);
        world.run_until_phase(number, "observing");
        let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
        world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap().state = state;
        world.settle();
        assert_eq!(world.outcome(number), ("reverting", format!("{name} {why}")));
    }
}

#[test]
fn observation_reverts_at_limit_of_failed_health_checks() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
    let limit = spec(1).services[&ServiceName::default()].health.failures;
    for failures in [limit - 1, limit] {
        let fact = world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap();
        fact.health = Health { failures, last_failure: Some("status 500".into()), ..Health::default() };
        world.settle();
        let is_back = world.outcome(number).0 == "reverting";
        assert_eq!(is_back, failures == limit, "after {failures}");
    }
    assert_eq!(world.outcome(number).1, format!("{name} failed 3 health checks in a row: status 500"));
}

#[test]
fn failed_gate_message_has_its_last_lines() {
    let mut world = World::live(1);
    (world.gates, _) = super::safe_releases::demanding();
    let number = world.deploy(1);
    world.run_until_phase(number, "testing");
    let gate = world.gates[0].clone();
    for attempt in 1..=gate.retries + 1 {
        world.settle();
        let lines = vec!["one".to_owned(), "two".to_owned()];
        let result = GateResult { passed: false, summary: "status 1".into(), lines, tests: None, latency: None };
        world.facts.gates.insert(gate.name.clone(), GateEnd { attempt, since: world.facts.now, result });
    }
    world.settle();
    let message = format!("gate {} failed: status 1; its last lines:\n  one\n  two", gate.name);
    assert_eq!(world.outcome(number), ("failed", message));
}

#[test]
fn aborted_queued_deployment_is_cancelled_and_leaves_queue() {
    let mut world = World::live(1);
    let first = world.deploy(1);
    world.settle();
    let second = world.deploy(1);
    let by = world.by();
    command::abort(world.deployments.get_mut(&second).unwrap(), "aborted", &by).unwrap();
    world.run_until_done();
    assert_eq!(world.outcome(first).0, "succeeded");
    assert_eq!(world.outcome(second).0, "cancelled");
    assert_eq!((world.app.queue.len(), world.deployments[&second].slot), (0, None), "the deployment never started");
}

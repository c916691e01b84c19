//! Every wait has an end: what comes of each deadline, to the millisecond, and what is said of it.

use super::*;
use crate::deployment::Reason;

impl World {
    fn told(&self, number: u64) -> (&'static str, String) {
        let phase = &self.deployments[&number].phase;
        let message = match phase {
            Phase::Ended(Outcome::Failed(why) | Outcome::Cancelled(why) | Outcome::Reverted(why))
            | Phase::Reverting(why) => why.message.clone(),
            Phase::Ended(Outcome::Succeeded { warning }) => warning.clone().unwrap_or_default(),
            _ => String::new(),
        };
        (phase.name(), message)
    }

    /// Nothing happens until just before `limit` after the phase began, and then it is over.
    fn is_over_after(&mut self, number: u64, limit: Millis) {
        let (since, phase) = (self.deployments[&number].phase_since, self.told(number).0);
        self.facts.now = Timestamp(since.after(limit).0 - 1);
        self.settle();
        assert_eq!(self.told(number).0, phase, "a millisecond too early");
        self.facts.now = since.after(limit);
        self.settle();
        assert_ne!(self.told(number).0, phase);
    }

    /// Every data plane stays with the routes that it has.
    fn obey_without_routes(&mut self, actions: &[Action]) {
        let planes = self.facts.planes.clone();
        self.obey(actions);
        self.facts.planes = planes;
    }
}

#[test]
fn a_release_that_is_not_fetched_in_time_fails() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.facts.prepared = None;
    world.settle();
    assert_eq!(world.told(number).0, "preparing");
    world.is_over_after(number, spec(1).timing.prepare_timeout);
    assert_eq!(world.told(number).0, "failed");
    assert!(world.told(number).1.contains("within 10m00s (deploy.prepare_timeout)"), "{:?}", world.told(number));
}

#[test]
fn instances_that_do_not_start_in_time_fail_the_deployment() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "starting");
    world.is_over_after(number, spec(1).timing.start_timeout);
    assert!(world.told(number).1.contains("within 1m00s (deploy.start_timeout)"), "{:?}", world.told(number));
}

#[test]
fn an_instance_that_exits_while_it_is_started_says_why() {
    for (out_of_memory, cause) in [(false, Cause::Exited), (true, Cause::OutOfMemory)] {
        let mut world = World::live(1);
        let number = world.deploy(1);
        world.go_on_until_phase(number, "starting");
        let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
        world.run(&name, Timestamp(1));
        let exited = InstanceSeen::Exited { out_of_memory, story: "it is gone".into() };
        world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap().state = exited;
        world.settle();
        let failed = Phase::Ended(Outcome::Failed(Reason::new(cause, "it is gone")));
        assert_eq!(world.deployments[&number].phase, failed);
    }
}

#[test]
fn a_cutover_that_no_data_plane_applies_in_time_is_taken_back() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "shifting");
    assert_eq!(world.app.live, Some(crate::Slot::Green));
    world.is_over_after(number, spec(1).timing.shift_timeout);
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
    let why = "builtin did not apply the cutover within 10 s (deploy.shift_timeout)";
    assert_eq!(world.told(number), ("reverted", why.to_owned()), "no data plane has anything to go back from");
}

#[test]
fn a_rollback_stands_although_a_data_plane_is_late() {
    let mut world = World::live(1);
    world.deploy(1);
    world.go_on_until_over();
    world.rollback();
    let number = world.app.queue[0].deployment;
    world.go_on_until_phase(number, "shifting");
    world.is_over_after(number, spec(1).timing.shift_timeout);
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
    let (phase, warning) = world.told(number);
    assert!(phase == "succeeded" && warning.contains("did not apply the cutover"), "{warning}");
}

#[test]
fn a_data_plane_that_keeps_the_old_routes_is_named_and_not_waited_for() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "observing");
    let since = world.deployments[&number].phase_since;
    let actions = world.settle();
    world.obey(&actions);
    world.facts.now = since.after(spec(1).timing.observe);
    let actions = world.settle();
    assert_eq!(world.told(number).0, "retiring");
    world.obey_without_routes(&actions);
    world.is_over_after(number, spec(1).timing.drain_timeout);
    let warning = "builtin still has the old slot in its routes; it is stopped once that ends";
    assert_eq!(world.told(number), ("succeeded", warning.to_owned()));
}

#[test]
fn the_observation_lasts_as_long_as_it_says() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "observing");
    world.is_over_after(number, spec(1).timing.observe);
}

#[test]
fn an_instance_that_is_not_the_one_that_was_checked_takes_the_release_back() {
    let run = |run: &str| InstanceSeen::Running { address: "127.0.0.1:9000".parse().unwrap(), run: run.into() };
    for (state, why) in [
        (InstanceSeen::Missing, "is gone"),
        (InstanceSeen::Created, "does not run any more"),
        (run("another"), "exited and was started again"),
    ] {
        let mut world = World::live(1);
        let number = world.deploy(1);
        world.go_on_until_phase(number, "observing");
        let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
        world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap().state = state;
        world.settle();
        assert_eq!(world.told(number), ("reverting", format!("{name} {why}")));
    }
}

#[test]
fn health_checks_that_fail_take_a_live_release_back_at_their_limit() {
    let mut world = World::live(1);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "observing");
    let name = world.app.slots[&crate::Slot::Green].instances().next().unwrap();
    let limit = spec(1).services[&ServiceName::default()].health.failures;
    for failures in [limit - 1, limit] {
        let fact = world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap();
        fact.health = Health { failures, last_failure: Some("status 500".into()), ..Health::default() };
        world.settle();
        let is_back = world.told(number).0 == "reverting";
        assert_eq!(is_back, failures == limit, "after {failures}");
    }
    assert_eq!(world.told(number).1, format!("{name} failed 3 health checks in a row: status 500"));
}

#[test]
fn the_last_lines_of_a_gate_that_failed_are_told() {
    let mut world = World::live(1);
    (world.gates, _) = super::safe_releases::demanding();
    let number = world.deploy(1);
    world.go_on_until_phase(number, "testing");
    let gate = world.gates[0].clone();
    for attempt in 1..=gate.retries + 1 {
        world.settle();
        let lines = vec!["one".to_owned(), "two".to_owned()];
        let result = GateResult { passed: false, summary: "status 1".into(), lines, tests: None, latency: None };
        world.facts.gates.insert(gate.name.clone(), GateEnd { attempt, since: world.facts.now, result });
    }
    world.settle();
    let told = format!("the gate {} failed: status 1; its last lines:\n  one\n  two", gate.name);
    assert_eq!(world.told(number), ("failed", told));
}

#[test]
fn what_is_aborted_while_it_waits_is_cancelled_and_leaves_the_queue() {
    let mut world = World::live(1);
    let first = world.deploy(1);
    world.settle();
    let second = world.deploy(1);
    let by = world.by();
    command::abort(world.deployments.get_mut(&second).unwrap(), "aborted", &by).unwrap();
    world.go_on_until_over();
    assert_eq!(world.told(first).0, "succeeded");
    assert_eq!(world.told(second).0, "cancelled");
    assert_eq!((world.app.queue.len(), world.deployments[&second].slot), (0, None), "it was never begun");
}

//! Canaries step by step, with people's control and the judge's findings; parking.

use super::*;
use crate::command::{CommandError, Steer, steer};
use crate::judge::Comparison;
use crate::strategy::{Canary, CanaryStep, Choose};

pub(super) fn in_steps(steps: &[(u8, Option<u64>)], expires_s: u64) -> Rollout {
    let step =
        |(weight, pause): &(u8, Option<u64>)| CanaryStep { weight: *weight, pause: pause.map(Millis::from_secs) };
    let expires = Millis::from_secs(expires_s);
    Rollout::Canary(Canary { steps: steps.iter().map(step).collect(), choose: Choose::Random, expires })
}

/// A world in which release 1 is live and release 2 is in its canary.
fn world(steps: &[(u8, Option<u64>)]) -> (World, u64) {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    world.strategy = in_steps(steps, 3600);
    let number = world.deploy(1);
    world.run_until_phase(number, "canary");
    world.rest();
    (world, number)
}

impl World {
    fn rest(&mut self) {
        for _ in 0..3 {
            let actions = self.settle();
            self.carry_out(&actions);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.facts.now = self.facts.now.after(Millis::from_secs(seconds));
        self.rest();
    }

    fn weights(&self) -> Vec<(u64, u32)> {
        let group = RouteGroup::derive(&self.app).unwrap();
        group.slots.iter().map(|slot| (slot.release, slot.weight)).collect()
    }

    fn steer(&mut self, number: u64, what: Steer) -> Result<(), CommandError> {
        let by = self.by();
        steer(self.deployments.get_mut(&number).unwrap(), what, &by)
    }

    fn phase(&self, number: u64) -> &'static str {
        self.deployments[&number].phase.name()
    }
}

#[test]
fn canary_steps_have_their_share_and_time_and_end_with_cutover() {
    let (mut world, number) = world(&[(10, Some(60)), (50, Some(30))]);
    assert_eq!(world.weights(), [(1, 90), (2, 10)]);
    world.wait(59);
    assert_eq!(world.weights(), [(1, 90), (2, 10)]);
    world.wait(1);
    assert_eq!(world.weights(), [(1, 50), (2, 50)]);
    assert_eq!(world.app.live_placement().unwrap().release, 1, "the old release is live until the cutover");
    world.wait(30);
    assert_eq!(world.app.live_placement().unwrap().release, 2);
    assert_eq!(world.weights(), [(2, 100), (1, 0)]);
    world.run_until_done();
    assert_eq!(world.phase(number), "succeeded");
}

#[test]
fn canary_step_without_time_waits_for_person_until_it_expires() {
    let (mut waiting, number) = world(&[(10, None)]);
    waiting.wait(3599);
    assert_eq!(waiting.phase(number), "canary");
    waiting.steer(number, Steer::Next).unwrap();
    waiting.rest();
    assert_eq!(waiting.app.live_placement().unwrap().release, 2);
    let (mut expired, number) = world(&[(10, None)]);
    expired.wait(3600);
    expired.run_until_done();
    assert_eq!(expired.phase(number), "reverted");
    assert_eq!(expired.weights(), [(1, 100)]);
}

#[test]
fn interrupted_canary_restarts_and_exited_canary_reverts() {
    let (mut world, number) = world(&[(10, Some(60))]);
    let name = world.app.slots[&world.app.idle_slot()].instances().next().unwrap();
    world.interrupt(&name);
    assert!(world.settle().contains(&Action::Start(name.clone())));
    assert_eq!(world.phase(number), "canary");
    world.exit(&name);
    world.run_until_done();
    assert_eq!(world.phase(number), "reverted");
}

#[test]
fn paused_canary_step_does_not_end() {
    let (mut world, number) = world(&[(10, Some(60))]);
    world.steer(number, Steer::Pause).unwrap();
    assert!(matches!(world.steer(number, Steer::Pause), Err(CommandError::SteeredAlready { .. })));
    world.wait(600);
    assert_eq!(world.phase(number), "canary");
    world.steer(number, Steer::Resume).unwrap();
    assert!(matches!(world.steer(number, Steer::Resume), Err(CommandError::SteeredAlready { .. })));
    world.wait(59);
    assert_eq!(world.phase(number), "canary", "the step restarts");
    world.wait(1);
    assert_ne!(world.phase(number), "canary");
}

#[test]
fn manual_weight_stays_until_next_larger_step() {
    let steps = [(10, Some(60)), (20, Some(60)), (60, Some(60))];
    let (mut same, number) = world(&steps);
    same.steer(number, Steer::Weight(20)).unwrap();
    same.steer(number, Steer::Resume).unwrap();
    same.wait(60);
    assert_eq!(same.weights(), [(1, 40), (2, 60)], "a step of equal weight is skipped");

    let (mut world, number) = world(&steps);
    world.steer(number, Steer::Weight(30)).unwrap();
    world.rest();
    assert_eq!(world.weights(), [(1, 70), (2, 30)]);
    world.wait(600);
    assert_eq!(world.weights(), [(1, 70), (2, 30)]);
    world.steer(number, Steer::Resume).unwrap();
    world.rest();
    assert_eq!(world.weights(), [(1, 70), (2, 30)], "the weight does not decrease");
    world.wait(60);
    assert_eq!(world.weights(), [(1, 40), (2, 60)]);
    assert_eq!(world.steer(number, Steer::Weight(100)), Err(CommandError::Weight(100)));
}

#[test]
fn canary_reverts_with_reason_on_breach() {
    let (mut world, number) = world(&[(10, Some(60))]);
    let breach = Some("9 of 10 requests failed".to_owned());
    world.facts.judged = Some(Comparison { breach, ..Comparison::default() });
    world.settle();
    assert_eq!(world.weights(), [(1, 100)]);
    world.facts.judged = None;
    world.rest();
    world.run_until_done();
    let Phase::Ended(Outcome::Reverted(reason)) = &world.deployments[&number].phase else { panic!("not reverted") };
    assert_eq!((reason.cause, reason.message.as_str()), (Cause::Judged, "9 of 10 requests failed"));
    assert!(world.deployments[&number].receipt.canary.as_ref().is_some_and(|seen| seen.breach.is_some()));
}

#[test]
fn canary_reverts_on_exit() {
    let (mut world, number) = world(&[(10, Some(60))]);
    let name = world.app.slots[&crate::Slot::Green].id.instance(&ServiceName::default(), 1);
    world.exit(&name);
    world.settle();
    assert_eq!(world.weights(), [(1, 100)]);
    world.rest();
    world.run_until_done();
    assert_eq!(world.phase(number), "reverted");
}

#[test]
fn canary_reverts_on_rollback_command() {
    let (mut world, number) = world(&[(10, Some(60))]);
    world.rollback();
    world.run_until_done();
    assert_eq!(world.phase(number), "reverted");
    assert_eq!(world.weights(), [(1, 100)]);
}

#[test]
fn first_release_has_no_canary() {
    let mut world = World::new();
    world.strategy = in_steps(&[(10, None)], 3600);
    let number = world.deploy(1);
    world.run_until_done();
    assert_eq!(world.phase(number), "succeeded");
}

#[test]
fn release_reverts_when_data_plane_cannot_send_to_it() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let number = world.deploy(1);
    world.run_until_phase(number, "observing");
    let id = world.app.live_placement().unwrap().id.clone();
    world.facts.planes[0].view.as_mut().unwrap().circuit_open.insert(id, 10);
    world.settle();
    world.rest();
    world.run_until_done();
    let Phase::Ended(Outcome::Reverted(reason)) = &world.deployments[&number].phase else { panic!("not reverted") };
    assert_eq!(reason.cause, Cause::Unreachable);
}

#[test]
fn old_slot_is_parked_and_resumed_by_rollback() {
    let mut world = World::new();
    for _ in 0..2 {
        world.deploy(1);
        world.run_until_done();
    }
    world.rest();
    let old = world.app.slots[&crate::Slot::Blue].clone();
    assert!(old.parked);
    let is_frozen = |world: &World| {
        let fact = world.facts.instance(&old.id.instance(&ServiceName::default(), 1)).unwrap();
        matches!(fact.state, InstanceSeen::Frozen { .. })
    };
    assert!(is_frozen(&world));
    world.rollback();
    world.run_until_done();
    assert!(!is_frozen(&world));
    assert_eq!(world.app.live_placement().unwrap().release, 1);
    let rollback = world.deployments.values().next_back().unwrap();
    assert_eq!(
        (rollback.rollback_path, rollback.phase.name()),
        (Some(crate::deployment::RollbackPath::Parked), "succeeded")
    );
}

#[test]
fn frozen_live_slot_stays_routed_and_is_resumed() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    let fact = world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap();
    let InstanceSeen::Running { run, .. } = &fact.state else { panic!("{fact:?}") };
    fact.state = InstanceSeen::Frozen { run: run.clone() };
    world.settle();
    assert!(world.app.live_placement().unwrap().replicas[0].in_rotation, "requests wait for it, instead of a 503");
    world.rest();
    assert!(matches!(world.facts.instance(&name).unwrap().state, InstanceSeen::Running { .. }));
}

#[test]
fn live_release_is_not_deployed_again_without_force() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    world.is_forced = false;
    let number = world.deploy(1);
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase, Phase::Ended(Outcome::Unchanged { release: 1 }));
    assert_eq!(world.app.live_placement().unwrap().release, 1);
    assert_eq!(world.app.slots.len(), 1, "no instance was started");
    let number = world.deploy(2);
    world.run_until_done();
    assert_eq!(world.phase(number), "succeeded", "another configuration is another release");
}

#[test]
fn last_live_releases_are_kept_on_host() {
    let mut world = World::new();
    for _ in 0..8 {
        world.deploy(1);
        world.run_until_done();
    }
    let kept: Vec<_> = world.app.kept.iter().map(|kept| kept.release).collect();
    assert_eq!(kept, [8, 7, 6, 5, 4]);
    let actions = world.settle();
    assert!(actions.iter().any(|action| matches!(action, Action::Keep(kept) if kept.len() == 5)), "{actions:?}");
}

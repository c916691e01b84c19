//! The rotation of instances.

use super::*;
use crate::Slot::{self, Blue};
use crate::application::Replica;

impl World {
    fn names(&self, slot: Slot) -> Vec<InstanceName> {
        self.app.slots[&slot].instances().collect()
    }

    fn rotation(&self, slot: Slot) -> Vec<bool> {
        self.app.slots[&slot].replicas.iter().map(|replica| replica.in_rotation).collect()
    }

    fn first(&self) -> &Replica {
        &self.app.slots[&Blue].replicas[0]
    }

    fn seen_with(&mut self, name: &InstanceName, health: Health) {
        self.facts.instances.as_mut().unwrap().get_mut(name).unwrap().health = health;
        self.settle();
    }
}

#[test]
fn instance_returns_to_rotation_after_enough_passes() {
    let mut world = World::live(2);
    let name = world.names(Blue).remove(0);
    world.seen_with(&name, Health { failures: 3, ..Health::default() });
    assert_eq!(world.rotation(Blue), [false, true]);
    world.seen_with(&name, Health::default());
    assert_eq!(world.rotation(Blue), [false, true], "an unknown instance changes nothing");
    world.seen_with(&name, Health { passes: 1, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true]);
    world.seen_with(&name, Health { failures: 2, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true], "fewer failures than the limit");
}

#[test]
fn restarted_instance_passes_checks_before_rotation() {
    let mut world = World::live(2);
    let name = world.names(Blue).remove(0);
    world.run(&name, world.facts.now.after(Millis(1)));
    world.settle();
    assert_eq!(world.rotation(Blue), [false, true]);
    world.seen_with(&name, Health { passes: 1, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true]);
}

#[test]
fn frozen_instance_keeps_its_run_unless_restarted() {
    let mut world = World::live(2);
    let name = world.names(Blue).remove(0);
    let before = world.first().clone();
    world.freeze(&name, true);
    world.settle();
    assert_eq!(*world.first(), Replica { in_rotation: false, ..before });

    let frozen = InstanceSeen::Frozen { run: "another".into() };
    world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap().state = frozen;
    world.settle();
    assert_eq!((&world.first().run, world.first().address), (&None, None));
}

#[test]
fn fallback_slot_loses_exited_instance() {
    let mut world = World::live(2);
    let number = world.deploy(2);
    world.run_until_phase(number, "observing");
    assert_eq!(world.app.slots[&Blue].idle, Idle::Fallback);
    let name = world.names(Blue).remove(0);
    world.exit(&name);
    world.settle();
    assert_eq!(world.rotation(Blue), [false, true]);
    assert_eq!(world.deployments[&number].phase.name(), "observing");
}

#[test]
fn standby_rotation_does_not_change() {
    let mut world = World::live(2);
    world.deploy(2);
    world.run_until_done();
    // Only one of them exits: the last instance of a service stays in rotation in any case.
    world.exit(&world.names(Blue)[0]);
    world.settle();
    assert_eq!(world.rotation(Blue), [true, true], "a standby is not reconciled");
}

fn stops(actions: Vec<Action>) -> Vec<InstanceName> {
    let names = actions.into_iter().filter_map(|action| match action {
        Action::Stop { name, .. } => Some(name),
        _ => None,
    });
    names.collect()
}

#[test]
fn stopped_application_stops_instances_after_drain_or_deadline() {
    for is_slow in [false, true] {
        let mut world = World::live(2);
        let live = world.app.live_placement().unwrap().id.clone();
        world.app.desired = Desired::Stopped;
        assert_eq!(stops(world.settle()), [], "the slot is routed");
        world.apply_routes();
        if is_slow {
            world.facts.planes[0].view.as_mut().unwrap().in_flight = Some(BTreeMap::from([(live, 1)]));
            let deadline = world.facts.now.after(spec(2).timing.drain_timeout);
            world.facts.now = Timestamp(deadline.0 - 1);
            assert_eq!(stops(world.settle()), [], "a request is in flight");
            world.facts.now = deadline;
        }
        assert_eq!(stops(world.settle()), world.names(Blue));
    }
}

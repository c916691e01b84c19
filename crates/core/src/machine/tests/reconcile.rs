//! Which instances get requests, as they come and go.

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
fn an_instance_that_failed_its_checks_is_back_when_it_has_passed_them_and_not_before() {
    let mut world = World::live(2);
    let name = world.names(Blue).remove(0);
    world.seen_with(&name, Health { failures: 3, ..Health::default() });
    assert_eq!(world.rotation(Blue), [false, true]);
    world.seen_with(&name, Health::default());
    assert_eq!(world.rotation(Blue), [false, true], "nothing is known of it");
    world.seen_with(&name, Health { passes: 1, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true]);
    world.seen_with(&name, Health { failures: 2, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true], "it may fail that often");
}

#[test]
fn another_run_of_an_instance_passes_its_checks_before_it_gets_requests() {
    let mut world = World::live(2);
    let name = world.names(Blue).remove(0);
    world.run(&name, world.facts.now.after(Millis(1)));
    world.settle();
    assert_eq!(world.rotation(Blue), [false, true]);
    world.seen_with(&name, Health { passes: 1, ..Health::default() });
    assert_eq!(world.rotation(Blue), [true, true]);
}

#[test]
fn what_is_frozen_is_known_when_it_goes_on_and_another_run_that_is_frozen_is_not() {
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
fn the_old_slot_loses_what_exits_while_it_is_the_fallback() {
    let mut world = World::live(2);
    let number = world.deploy(2);
    world.go_on_until_phase(number, "observing");
    assert_eq!(world.app.slots[&Blue].idle, Idle::Fallback);
    let name = world.names(Blue).remove(0);
    world.exit(&name);
    world.settle();
    assert_eq!(world.rotation(Blue), [false, true]);
    assert_eq!(world.deployments[&number].phase.name(), "observing");
}

#[test]
fn what_stands_by_stays_as_it_was_when_it_was_live() {
    let mut world = World::live(2);
    world.deploy(2);
    world.go_on_until_over();
    // One alone: the last of a service stays in rotation anyway.
    world.exit(&world.names(Blue)[0]);
    world.settle();
    assert_eq!(world.rotation(Blue), [true, true], "it is not kept up");
}

fn stops(actions: Vec<Action>) -> Vec<InstanceName> {
    let names = actions.into_iter().filter_map(|action| match action {
        Action::Stop { name, .. } => Some(name),
        _ => None,
    });
    names.collect()
}

#[test]
fn what_is_stopped_ends_when_nobody_is_sent_there_and_has_finished_or_had_its_time() {
    for is_slow in [false, true] {
        let mut world = World::live(2);
        let live = world.app.live_placement().unwrap().id.clone();
        world.app.desired = Desired::Stopped;
        assert_eq!(stops(world.settle()), [], "it is routed");
        world.apply_routes();
        if is_slow {
            world.facts.planes[0].view.as_mut().unwrap().in_flight = Some(BTreeMap::from([(live, 1)]));
            let deadline = world.facts.now.after(spec(2).timing.drain_timeout);
            world.facts.now = Timestamp(deadline.0 - 1);
            assert_eq!(stops(world.settle()), [], "a request is under way");
            world.facts.now = deadline;
        }
        assert_eq!(stops(world.settle()), world.names(Blue));
    }
}

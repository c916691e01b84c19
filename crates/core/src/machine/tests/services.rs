//! Several services in one application: they start, pass their checks, change over and go back together.

use super::*;
use crate::PlacementId;

/// Two instances of the service that has routes and one of the worker that has none.
const WITH_WORKER: u16 = 3;

fn worker_of(id: &PlacementId) -> InstanceName {
    id.instance(&worker(), 1)
}

#[test]
fn a_worker_has_to_run_for_a_while_and_no_request_goes_to_it() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.go_on_until_phase(number, "checking");
    let began = world.facts.now;
    world.go_on_until_phase(number, "shifting");
    assert!(world.facts.now.since(began) >= HealthCheck::default().settle, "it ran for {:?}", world.facts.now);
    let group = RouteGroup::derive(&world.app).unwrap();
    let services: Vec<_> = group.slots[0].instances.iter().map(|backend| backend.service.as_str()).collect();
    assert_eq!(services, ["web", "web"]);
    world.go_on_until_over();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
}

#[test]
fn a_worker_that_exits_while_it_is_checked_fails_the_whole_release() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.go_on_until_phase(number, "checking");
    let id = world.app.slots[&crate::Slot::Blue].id.clone();
    world.exit(&worker_of(&id));
    world.go_on_until_over();
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!() };
    assert_eq!(reason.cause, Cause::Exited);
    assert!(world.app.live.is_none());
}

#[test]
fn a_service_that_never_answers_is_named() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.go_on_until_phase(number, "checking");
    for _ in 0..100 {
        // Nothing is obeyed: no check ever passes.
        world.settle();
        world.facts.now = world.facts.now.after(Millis(500));
    }
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!() };
    assert_eq!(reason.message, "web is not healthy within 30 s (health.deadline): no check was answered");
}

#[test]
fn a_worker_that_exits_under_observation_takes_all_services_back() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.go_on_until_over();
    let number = world.deploy(WITH_WORKER);
    world.go_on_until_phase(number, "observing");
    let id = world.app.live_placement().unwrap().id.clone();
    world.exit(&worker_of(&id));
    world.go_on_until_over();
    assert_eq!(world.deployments[&number].phase.name(), "reverted");
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
}

#[test]
fn a_worker_that_was_started_again_has_nothing_to_prove() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.go_on_until_over();
    let name = worker_of(&world.app.live_placement().unwrap().id);
    let is_in = |world: &World| {
        let live = world.app.live_placement().unwrap();
        live.replicas.iter().find(|replica| live.name_of(replica) == name).unwrap().in_rotation
    };
    world.exit(&name);
    world.settle();
    assert!(!is_in(&world));
    world.run(&name, world.facts.now.after(Millis(1)));
    world.settle();
    assert!(is_in(&world));
}

#[test]
fn the_last_instance_of_a_service_stays_in_rotation_whatever_other_services_do() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.go_on_until_over();
    let id = world.app.live_placement().unwrap().id.clone();
    for number in 1..=2 {
        let name = id.instance(&ServiceName::default(), number);
        let fact = world.facts.instances.as_mut().unwrap().get_mut(&name).unwrap();
        fact.health = Health { passes: 0, failures: 3, ..Health::default() };
    }
    world.settle();
    let group = RouteGroup::derive(&world.app).unwrap();
    assert_eq!(group.slots[0].instances.len(), 2, "a doubtful answer is better than none");
}

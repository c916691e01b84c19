//! Several services in one application: they start, pass their checks, change over and revert together.

use super::*;
use crate::PlacementId;

/// Two instances of the service with routes, and one of the worker without.
const WITH_WORKER: u16 = 3;

fn worker_of(id: &PlacementId) -> InstanceName {
    id.instance(&worker(), 1)
}

#[test]
fn worker_must_run_for_settle_time_and_gets_no_request() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.run_until_phase(number, "checking");
    let began = world.facts.now;
    world.run_until_phase(number, "shifting");
    assert!(world.facts.now.since(began) >= HealthCheck::default().settle, "checked at {:?}", world.facts.now);
    let group = RouteGroup::derive(&world.app).unwrap();
    let services: Vec<_> = group.slots[0].instances.iter().map(|backend| backend.service.as_str()).collect();
    assert_eq!(services, ["web", "web"]);
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase.name(), "succeeded");
}

#[test]
fn worker_exit_during_checks_fails_release() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.run_until_phase(number, "checking");
    let id = world.app.slots[&crate::Slot::Blue].id.clone();
    world.exit(&worker_of(&id));
    world.run_until_done();
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!() };
    assert_eq!(reason.cause, Cause::Exited);
    assert!(world.app.live.is_none());
}

#[test]
fn failed_health_check_names_service() {
    let mut world = World::new();
    let number = world.deploy(WITH_WORKER);
    world.run_until_phase(number, "checking");
    for _ in 0..100 {
        // No action is carried out, so no check ever passes.
        world.settle();
        world.facts.now = world.facts.now.after(Millis(500));
    }
    let Phase::Ended(Outcome::Failed(reason)) = &world.deployments[&number].phase else { panic!() };
    assert_eq!(reason.message, "web is not healthy within 30 s (health.deadline): no check was answered");
}

#[test]
fn worker_exit_under_observation_reverts_all_services() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.run_until_done();
    let number = world.deploy(WITH_WORKER);
    world.run_until_phase(number, "observing");
    let id = world.app.live_placement().unwrap().id.clone();
    world.exit(&worker_of(&id));
    world.run_until_done();
    assert_eq!(world.deployments[&number].phase.name(), "reverted");
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
}

#[test]
fn restarted_worker_returns_to_rotation_without_checks() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.run_until_done();
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
fn last_instance_of_service_stays_in_rotation() {
    let mut world = World::new();
    world.deploy(WITH_WORKER);
    world.run_until_done();
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

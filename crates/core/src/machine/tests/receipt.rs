//! The counts of a receipt: exactly those of its deployment.

use super::*;
use crate::deployment::{PassedPhase, Traffic};
use crate::facts::HeldSeen;
use crate::hook::HookPoint;
use crate::judge::{Comparison, Summary};
use crate::machine::tests::hooks::hook;

fn count(requests: u64, errors: u64) -> Traffic {
    Traffic { requests, errors, ..Traffic::default() }
}

#[test]
fn receipt_counts_from_start_without_requests_of_tests() {
    for hooks in [vec![], vec![hook("columns", HookPoint::Held, None)]] {
        let mut world = World::live(1);
        let has_held = !hooks.is_empty();
        world.hooks = hooks;
        let old = world.app.live_placement().unwrap().id.clone();
        world.facts.traffic.insert(old.clone(), count(100, 7));
        world.facts.held = HeldSeen { count: 5, longest_us: 10, release_us: 1 };
        let number = world.deploy(1);
        world.run_until_phase(number, "checking");
        let new = world.app.slots[&world.app.idle_slot()].id.clone();
        // Requests of the tests, before the cutover.
        world.facts.traffic.insert(new.clone(), count(5, 3));
        world.run_until_phase(number, "observing");
        world.facts.traffic.insert(old, count(130, 8));
        world.facts.traffic.insert(new, count(45, 5));
        world.facts.held = HeldSeen { count: 8, longest_us: 20, release_us: 2 };
        world.run_until_done();
        let receipt = &world.deployments[&number].receipt;
        assert_eq!((receipt.old, receipt.new), (count(30, 1), count(40, 2)));
        let held = (receipt.held, receipt.held_longest_us, receipt.held_release_us);
        assert_eq!(held, if has_held { (3, 20, 2) } else { (0, 0, 0) }, "holds for another reason do not count");
    }
}

#[test]
fn receipt_without_held_requests_has_no_hold_times() {
    let mut world = World::live(1);
    world.hooks = vec![hook("columns", HookPoint::Held, None)];
    world.facts.held = HeldSeen { count: 5, longest_us: 10, release_us: 1 };
    let number = world.deploy(1);
    world.run_until_done();
    let receipt = &world.deployments[&number].receipt;
    assert_eq!((receipt.held, receipt.held_longest_us, receipt.held_release_us), (0, 0, 0));
}

#[test]
fn receipt_has_in_flight_at_cutover_and_only_passed_phases() {
    let mut world = World::live(1);
    let old = world.app.live_placement().unwrap().id.clone();
    let number = world.deploy(1);
    world.run_until_phase(number, "shifting");
    world.apply_routes();
    world.facts.planes[0].view.as_mut().unwrap().in_flight = Some(BTreeMap::from([(old, 3)]));
    world.settle();
    assert_eq!(world.deployments[&number].receipt.in_flight_at_cutover, Some(3));
    let judged = Comparison { new: Summary { requests: 7, ..Summary::default() }, ..Comparison::default() };
    world.facts.judged = Some(judged.clone());
    world.run_until_done();
    assert_eq!(world.deployments[&number].receipt.observed, Some(judged));
    let names = |passed: &[PassedPhase]| passed.iter().map(|passed| passed.phase.clone()).collect::<Vec<_>>().join(" ");
    let passed = names(&world.deployments[&number].passed);
    assert_eq!(passed, "queued preparing starting checking shifting observing retiring");
}

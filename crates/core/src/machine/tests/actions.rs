//! The actions and wake-up times of a record at rest, instance by instance.

use super::*;
use crate::Pace;
use crate::Slot::{Blue, Green};
use crate::application::Claim;
use crate::hook::HookPoint;
use crate::machine::tests::canary::in_steps;
use crate::machine::tests::hooks::hook;
use crate::spec::HostPorts;

impl World {
    /// The actions and the wake-up time of the record at rest.
    fn at_rest(&mut self) -> (Vec<Action>, Option<Timestamp>) {
        let actions = self.settle();
        let Step::Rest { wake_at, .. } = step(&self.state(), &self.facts) else { panic!("the record does not rest") };
        (actions, wake_at)
    }

    fn first_of(&self, slot: crate::Slot) -> InstanceName {
        self.app.slots[&slot].instances().next().unwrap()
    }

    fn fact(&mut self, name: &InstanceName) -> &mut InstanceFact {
        self.facts.instances.as_mut().unwrap().get_mut(name).unwrap()
    }
}

/// A world with two releases: the first stands by, the second is live.
fn two(park: bool) -> World {
    let mut world = World::new();
    for _ in 0..2 {
        world.deploy(1);
        for release in world.releases.values_mut() {
            let mut spec = (*release.spec).clone();
            spec.timing.park = park;
            release.spec = Arc::new(spec);
        }
        world.run_until_done();
    }
    world
}

fn starts(actions: &[Action], name: &InstanceName) -> bool {
    actions.contains(&Action::Start(name.clone()))
}

#[test]
fn exited_live_instance_restarts_at_restart_time() {
    let mut world = two(false);
    let live = world.first_of(Green);
    world.exit(&live);
    let restart_at = world.facts.now.after(Millis(700));
    world.fact(&live).restart_at = restart_at;
    let (actions, wake_at) = world.at_rest();
    assert!(!starts(&actions, &live));
    assert_eq!(wake_at, Some(restart_at));
    world.facts.now = restart_at;
    assert!(starts(&world.settle(), &live));
}

#[test]
fn exited_standby_is_not_restarted() {
    let mut world = two(false);
    let standby = world.first_of(Blue);
    for state in [InstanceSeen::Exited { out_of_memory: false, details: "x".into() }, InstanceSeen::Missing] {
        world.fact(&standby).state = state;
        world.fact(&standby).restart_at = world.facts.now;
        assert!(!starts(&world.settle(), &standby));
    }
}

#[test]
fn candidate_start_is_not_retried_after_start_error() {
    let mut world = two(false);
    let number = world.deploy(1);
    world.run_until_phase(number, "starting");
    let candidate = world.first_of(Blue);
    world.run(&candidate, world.facts.now);
    world.fact(&candidate).state = InstanceSeen::Missing;
    world.fact(&candidate).restart_at = world.facts.now;
    assert!(starts(&world.settle(), &candidate));
    world.fact(&candidate).start_error = Some("no such image".into());
    assert!(!starts(&world.settle(), &candidate));
    let why = crate::deployment::Reason::new(Cause::Start, "no such image");
    assert_eq!(world.deployments[&number].phase, Phase::Ended(Outcome::Failed(why)));
}

#[test]
fn restart_policy_is_set_for_live_slot_only_and_not_under_judgement() {
    let comes_back = |actions: &[Action]| -> BTreeMap<InstanceName, bool> {
        let set = actions.iter().filter_map(|action| match action {
            Action::SetRestart { name, comes_back } => Some((name.clone(), *comes_back)),
            _ => None,
        });
        set.collect()
    };
    let mut world = two(true);
    let (blue, green) = (world.first_of(Blue), world.first_of(Green));
    let actions = world.settle();
    let expected = BTreeMap::from([(blue.clone(), false), (green, true)]);
    assert_eq!(comes_back(&actions), expected);
    assert!(matches!(world.fact(&blue).state, InstanceSeen::Frozen { .. }), "frozen instances have a policy, too");
    let number = world.deploy(1);
    world.run_until_phase(number, "checking");
    assert!(
        comes_back(&world.settle()).keys().all(|name| name.placement.slot == Green),
        "a candidate is no such thing"
    );
    for phase in ["shifting", "observing"] {
        world.run_until_phase(number, phase);
        assert_eq!(comes_back(&world.settle()), BTreeMap::new(), "{phase}");
    }
}

#[test]
fn probes_are_faster_where_more_depends_on_them() {
    let paces = |world: &mut World| -> Vec<(crate::Slot, Pace)> {
        let actions = world.settle();
        let paces = actions.iter().filter_map(|action| match action {
            Action::Probe { name, pace } => Some((name.placement.slot, *pace)),
            _ => None,
        });
        paces.collect()
    };
    let mut world = two(false);
    world.strategy = in_steps(&[(10, Some(20))], 3600);
    let number = world.deploy(1);
    world.run_until_phase(number, "canary");
    assert_eq!(paces(&mut world), [(Blue, Pace::Close), (Green, Pace::Steady)]);

    let mut world = two(false);
    assert_eq!(paces(&mut world), [(Blue, Pace::Steady), (Green, Pace::Steady)]);
    let number = world.deploy(1);
    world.run_until_phase(number, "checking");
    assert_eq!(paces(&mut world), [(Blue, Pace::Eager), (Green, Pace::Steady)]);
    for phase in ["shifting", "observing"] {
        world.run_until_phase(number, phase);
        assert_eq!(paces(&mut world), [(Blue, Pace::Close), (Green, Pace::Steady)], "{phase}");
    }
    world.run_until_done();
    // With a worker, which has no health check path.
    world.deploy(3);
    world.run_until_done();
    assert_eq!(paces(&mut world), [(Green, Pace::Close), (Green, Pace::Close)], "frozen instances get no probe");
    let one = world.first_of(Green);
    world.fact(&one).health = Health { failures: 99, ..Health::default() };
    assert_eq!(paces(&mut world), [(Green, Pace::Eager), (Green, Pace::Eager)]);
}

#[test]
fn fixed_port_is_free_before_next_release_starts() {
    let with = |ports: [bool; 2], slot| {
        let spec = |has_ports: bool| {
            let mut spec = (*spec(1)).clone();
            let host_ports = has_ports.then_some(HostPorts { blue: 81, green: 82 });
            spec.services.values_mut().for_each(|service| service.host_ports = host_ports);
            Arc::new(spec)
        };
        let placement = |slot, deployment, has_ports| {
            let id = crate::PlacementId { key: "shop/production".parse().unwrap(), slot, deployment };
            crate::Placement::candidate(id, deployment, spec(has_ports), Artifacts::only("sha"))
        };
        let mut world = World::new();
        world.app.slots.insert(Green, placement(Green, 2, ports[0]));
        world.app.leaving.push(placement(slot, 1, ports[1]));
        let (name, old) = (world.first_of(Green), world.app.leaving[0].instances().next().unwrap());
        for name in [&name, &old] {
            world.run(name, Timestamp(0));
        }
        world.fact(&name).state = InstanceSeen::Missing;
        world.facts.now = Timestamp(60_000);
        starts(&world.settle(), &name)
    };
    assert!(!with([true, true], Green));
    assert!(with([true, true], Blue) && with([true, false], Green) && with([false, true], Green));
}

#[test]
fn unrecorded_instances_are_stopped_unless_missing() {
    let mut world = two(false);
    let id: crate::PlacementId = "shop/production/green/77".parse().unwrap();
    let orphan = id.instance(&ServiceName::default(), 1);
    world.run(&orphan, Timestamp(0));
    let stop = Action::Stop { name: orphan.clone(), grace: Millis::from_secs(10) };
    assert!(world.settle().contains(&stop));
    world.fact(&orphan).state = InstanceSeen::Missing;
    assert!(!world.settle().contains(&stop));
}

#[test]
fn releases_in_slots_and_last_live_ones_are_kept() {
    let mut world = two(false);
    let kept = |actions: &[Action]| -> Vec<u64> {
        let kept = actions.iter().filter_map(|action| match action {
            Action::Keep(kept) => Some(kept.iter().map(|kept| kept.release).collect()),
            _ => None,
        });
        kept.flat_map(|kept: Vec<u64>| kept).collect()
    };
    assert_eq!(kept(&world.settle()), [1, 2]);
    world.facts.now = world.facts.now.after(Millis::from_secs(3600));
    let actions = world.settle();
    world.carry_out(&actions);
    assert_eq!(kept(&world.settle()), [1, 2], "the standby has ended, and a rollback needs no registry");
    world.app.desired = Desired::Removed;
    assert_eq!(kept(&world.settle()), [0; 0]);
}

#[test]
fn removed_application_is_forgotten_when_its_instances_are_gone() {
    let mut world = two(false);
    world.app.desired = Desired::Removed;
    world.app.queue.push(Claim { deployment: 99, hosts: [].into() });
    let mut number = 0;
    while !world.app.leaving.is_empty() || !world.app.slots.is_empty() {
        world.app.queue.clear();
        let actions = world.settle();
        assert!(!actions.contains(&Action::Forget) || world.app.leaving.is_empty());
        world.carry_out(&actions);
        for fact in world.app.leaving.iter().flat_map(|placement| placement.instances()).collect::<Vec<_>>() {
            world.run(&fact, Timestamp(0));
            world.fact(&fact).state = InstanceSeen::Missing;
        }
        number += 1;
        assert!(number < 20, "the removal never ends");
    }
    assert_eq!(world.settle(), [Action::Forget]);
}

#[test]
fn wake_at_is_end_of_each_phase() {
    let timing = spec(1).timing.clone();
    for (phase, limit) in [
        ("starting", timing.start_timeout),
        ("checking", HealthCheck::default().deadline),
        ("shifting", timing.shift_timeout),
        ("observing", timing.observe),
    ] {
        let mut world = two(false);
        // Moves the standby's end behind all of the deadlines.
        let until = world.facts.now.after(Millis::from_secs(9999));
        world.app.slots.get_mut(&Blue).unwrap().idle = Idle::Standby { until, park: false };
        world.facts.now = world.facts.now.after(Millis::from_secs(100));
        let number = world.deploy(1);
        world.run_until_phase(number, phase);
        let since = world.deployments[&number].phase_since;
        if phase == "checking" {
            // A drain ends earlier.
            world.facts.now = Timestamp(since.after(limit).0 - 1);
        }
        assert_eq!(world.at_rest().1, Some(since.after(limit)), "{phase}");
    }
    let mut world = World::new();
    let number = world.deploy(1);
    assert_eq!(world.at_rest().1, Some(world.deployments[&number].phase_since.after(timing.prepare_timeout)));
}

#[test]
fn wake_at_is_end_of_standby_and_of_canary_step() {
    let mut world = two(false);
    let Idle::Standby { until, .. } = world.app.slots[&Blue].idle else { panic!("not a standby") };
    world.facts.now = Timestamp(until.0 - 20_000);
    assert_eq!(world.at_rest().1, Some(until));
    world.strategy = in_steps(&[(10, Some(20))], 3600);
    let number = world.deploy(1);
    world.run_until_phase(number, "canary");
    let since = world.deployments[&number].canary.as_ref().unwrap().since;
    assert_eq!(world.at_rest().1, Some(since.after(Millis::from_secs(20))));
    let by = world.by();
    command::steer(world.deployments.get_mut(&number).unwrap(), command::Steer::Pause, &by).unwrap();
    assert_ne!(world.at_rest().1, Some(since.after(Millis::from_secs(20))), "a paused step has no end");
}

#[test]
fn standby_that_is_live_again_has_no_end() {
    let mut world = two(false);
    let Idle::Standby { until, .. } = world.app.slots[&Blue].idle else { panic!("not a standby") };
    world.facts.now = Timestamp(until.0 - 20_000);
    world.rollback();
    world.run_until_done();
    assert_eq!(world.app.live, Some(Blue));
    assert!(world.facts.now < until && world.at_rest().1 > Some(until));
    world.facts.now = until;
    world.settle();
    assert_eq!(world.app.live, Some(Blue));
}

#[test]
fn kept_slot_is_checked_again_before_rollback() {
    let mut world = two(false);
    world.facts.now = world.facts.now.after(Millis::from_secs(1));
    world.rollback();
    let actions = world.settle();
    let rollback = world.deployments.values().next_back().unwrap();
    assert_eq!((rollback.phase.name(), world.app.live), ("checking", Some(Green)), "the earlier checks do not count");
    world.carry_out(&actions);
    world.settle();
    assert_eq!(world.app.live, Some(Blue));
}

#[test]
fn release_is_prepared_only_in_phase_preparing() {
    let mut world = two(false);
    world.facts.prepared = None;
    assert!(!world.settle().contains(&Action::Prepare));
    world.hooks = vec![hook("start", HookPoint::BeforeStart, None)];
    world.deploy(1);
    let actions = world.settle();
    assert!(actions.contains(&Action::Prepare));
    world.carry_out(&actions);
    world.settle();
    // The record has the artifacts, so another server needs no facts of the preparation.
    world.facts.prepared = None;
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("start".into())) && !actions.contains(&Action::Prepare), "{actions:?}");
}

#[test]
fn canary_reverts_when_data_plane_does_not_apply_step_in_time() {
    let mut world = two(false);
    world.strategy = in_steps(&[(10, Some(3600))], 7200);
    let number = world.deploy(1);
    world.run_until_phase(number, "canary");
    let since = world.deployments[&number].canary.as_ref().unwrap().since;
    for (early, phase) in [(1, "canary"), (0, "reverted")] {
        world.facts.now = Timestamp(since.after(spec(1).timing.shift_timeout).0 - early);
        world.settle();
        assert_eq!(world.deployments[&number].phase.name(), phase);
    }
}

#[test]
fn rollback_records_its_path() {
    use crate::deployment::RollbackPath;
    let way = |park, change: fn(&mut InstanceFact)| {
        let mut world = two(park);
        let actions = world.settle();
        world.carry_out(&actions);
        let blue = world.first_of(Blue);
        change(world.fact(&blue));
        world.rollback();
        world.run_until_done();
        let rollback = world.deployments.values().next_back().unwrap();
        assert_eq!((rollback.phase.name(), world.app.live), ("succeeded", Some(Blue)));
        rollback.rollback_path
    };
    assert_eq!(way(false, |_| {}), Some(RollbackPath::Running));
    assert_eq!(way(true, |_| {}), Some(RollbackPath::Parked));
    assert_eq!(
        way(true, |fact| fact.state = InstanceSeen::Frozen { run: "another".into() }),
        Some(RollbackPath::Started)
    );
    assert_eq!(way(false, |fact| fact.state = InstanceSeen::Missing), Some(RollbackPath::Started));
    let another = |fact: &mut InstanceFact| {
        fact.state = InstanceSeen::Running { address: "127.0.0.1:9000".parse().unwrap(), run: "another".into() };
    };
    assert_eq!(way(false, another), Some(RollbackPath::Started));
}

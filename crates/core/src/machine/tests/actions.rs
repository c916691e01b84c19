//! What a record at rest asks for, instance by instance, and when it asks to be looked at again.

use super::*;
use crate::Pace;
use crate::Slot::{Blue, Green};
use crate::application::Claim;
use crate::hook::HookPoint;
use crate::machine::tests::canary::in_steps;
use crate::machine::tests::hooks::hook;
use crate::spec::HostPorts;

impl World {
    /// What is asked for once the record rests, and when it is to be looked at again.
    fn at_rest(&mut self) -> (Vec<Action>, Option<Timestamp>) {
        let actions = self.settle();
        let Step::Rest { wake_at, .. } = step(&self.state(), &self.facts) else { panic!("it rests") };
        (actions, wake_at)
    }

    fn first_of(&self, slot: crate::Slot) -> InstanceName {
        self.app.slots[&slot].instances().next().unwrap()
    }

    fn fact(&mut self, name: &InstanceName) -> &mut InstanceFact {
        self.facts.instances.as_mut().unwrap().get_mut(name).unwrap()
    }
}

/// Two releases: the first stands by, the second is live.
fn two(park: bool) -> World {
    let mut world = World::new();
    for _ in 0..2 {
        world.deploy(1);
        for release in world.releases.values_mut() {
            let mut spec = (*release.spec).clone();
            spec.timing.park = park;
            release.spec = Arc::new(spec);
        }
        world.go_on_until_over();
    }
    world
}

fn starts(actions: &[Action], name: &InstanceName) -> bool {
    actions.contains(&Action::Start(name.clone()))
}

#[test]
fn what_is_live_and_exited_is_started_again_when_it_is_time() {
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
fn a_standby_that_exited_is_left_alone() {
    let mut world = two(false);
    let standby = world.first_of(Blue);
    for state in [InstanceSeen::Exited { out_of_memory: false, story: "x".into() }, InstanceSeen::Missing] {
        world.fact(&standby).state = state;
        world.fact(&standby).restart_at = world.facts.now;
        assert!(!starts(&world.settle(), &standby));
    }
}

#[test]
fn a_candidate_is_started_and_one_that_could_not_be_is_not_tried_again() {
    let mut world = two(false);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "starting");
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
fn after_a_reboot_the_live_slot_alone_comes_back_and_while_it_is_judged_nothing_does() {
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
    assert!(matches!(world.fact(&blue).state, InstanceSeen::Frozen { .. }), "what is frozen, too");
    let number = world.deploy(1);
    world.go_on_until_phase(number, "checking");
    assert!(
        comes_back(&world.settle()).keys().all(|name| name.placement.slot == Green),
        "a candidate is no such thing"
    );
    for phase in ["shifting", "observing"] {
        world.go_on_until_phase(number, phase);
        assert_eq!(comes_back(&world.settle()), BTreeMap::new(), "{phase}");
    }
}

#[test]
fn health_is_asked_for_more_often_where_more_depends_on_it() {
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
    world.go_on_until_phase(number, "canary");
    assert_eq!(paces(&mut world), [(Blue, Pace::Close), (Green, Pace::Steady)]);

    let mut world = two(false);
    assert_eq!(paces(&mut world), [(Blue, Pace::Steady), (Green, Pace::Steady)]);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "checking");
    assert_eq!(paces(&mut world), [(Blue, Pace::Eager), (Green, Pace::Steady)]);
    for phase in ["shifting", "observing"] {
        world.go_on_until_phase(number, phase);
        assert_eq!(paces(&mut world), [(Blue, Pace::Close), (Green, Pace::Steady)], "{phase}");
    }
    world.go_on_until_over();
    // With a worker, which has nothing to ask.
    world.deploy(3);
    world.go_on_until_over();
    assert_eq!(paces(&mut world), [(Green, Pace::Close), (Green, Pace::Close)], "what is frozen answers nobody");
    let one = world.first_of(Green);
    world.fact(&one).health = Health { failures: 99, ..Health::default() };
    assert_eq!(paces(&mut world), [(Green, Pace::Eager), (Green, Pace::Eager)]);
}

#[test]
fn a_fixed_port_is_free_before_the_next_release_of_its_slot_is_started() {
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
fn what_nothing_names_is_stopped_and_what_is_gone_is_not() {
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
fn what_is_in_a_slot_and_what_was_live_last_stays_on_the_host() {
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
    world.obey(&actions);
    assert_eq!(kept(&world.settle()), [1, 2], "its standby is over, and a rollback needs no registry");
    world.app.desired = Desired::Removed;
    assert_eq!(kept(&world.settle()), [0; 0]);
}

#[test]
fn an_application_that_is_removed_is_forgotten_when_nothing_of_it_is_left() {
    let mut world = two(false);
    world.app.desired = Desired::Removed;
    world.app.queue.push(Claim { deployment: 99, hosts: [].into() });
    let mut number = 0;
    while !world.app.leaving.is_empty() || !world.app.slots.is_empty() {
        world.app.queue.clear();
        let actions = world.settle();
        assert!(!actions.contains(&Action::Forget) || world.app.leaving.is_empty());
        world.obey(&actions);
        for fact in world.app.leaving.iter().flat_map(|placement| placement.instances()).collect::<Vec<_>>() {
            world.run(&fact, Timestamp(0));
            world.fact(&fact).state = InstanceSeen::Missing;
        }
        number += 1;
        assert!(number < 20, "it never ends");
    }
    assert_eq!(world.settle(), [Action::Forget]);
}

#[test]
fn it_is_looked_at_again_when_each_phase_may_end() {
    let timing = spec(1).timing.clone();
    for (phase, limit) in [
        ("starting", timing.start_timeout),
        ("checking", HealthCheck::default().deadline),
        ("shifting", timing.shift_timeout),
        ("observing", timing.observe),
    ] {
        let mut world = two(false);
        // The standby's end is later than all of them.
        let until = world.facts.now.after(Millis::from_secs(9999));
        world.app.slots.get_mut(&Blue).unwrap().idle = Idle::Standby { until, park: false };
        world.facts.now = world.facts.now.after(Millis::from_secs(100));
        let number = world.deploy(1);
        world.go_on_until_phase(number, phase);
        let since = world.deployments[&number].phase_since;
        if phase == "checking" {
            // Before that a drain ends.
            world.facts.now = Timestamp(since.after(limit).0 - 1);
        }
        assert_eq!(world.at_rest().1, Some(since.after(limit)), "{phase}");
    }
    let mut world = World::new();
    let number = world.deploy(1);
    assert_eq!(world.at_rest().1, Some(world.deployments[&number].phase_since.after(timing.prepare_timeout)));
}

#[test]
fn it_is_looked_at_again_when_a_standby_ends_and_when_a_step_of_a_canary_does() {
    let mut world = two(false);
    let Idle::Standby { until, .. } = world.app.slots[&Blue].idle else { panic!("it stands by") };
    world.facts.now = Timestamp(until.0 - 20_000);
    assert_eq!(world.at_rest().1, Some(until));
    world.strategy = in_steps(&[(10, Some(20))], 3600);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "canary");
    let since = world.deployments[&number].canary.as_ref().unwrap().since;
    assert_eq!(world.at_rest().1, Some(since.after(Millis::from_secs(20))));
    let by = world.by();
    command::steer(world.deployments.get_mut(&number).unwrap(), command::Steer::Pause, &by).unwrap();
    assert_ne!(world.at_rest().1, Some(since.after(Millis::from_secs(20))), "it goes on when a person says so");
}

#[test]
fn what_stood_by_and_is_live_again_has_no_end() {
    let mut world = two(false);
    let Idle::Standby { until, .. } = world.app.slots[&Blue].idle else { panic!("it stands by") };
    world.facts.now = Timestamp(until.0 - 20_000);
    world.rollback();
    world.go_on_until_over();
    assert_eq!(world.app.live, Some(Blue));
    assert!(world.facts.now < until && world.at_rest().1 > Some(until));
    world.facts.now = until;
    world.settle();
    assert_eq!(world.app.live, Some(Blue));
}

#[test]
fn a_slot_that_was_kept_is_checked_anew_before_it_is_live_again() {
    let mut world = two(false);
    world.facts.now = world.facts.now.after(Millis::from_secs(1));
    world.rollback();
    let actions = world.settle();
    let rollback = world.deployments.values().next_back().unwrap();
    assert_eq!((rollback.phase.name(), world.app.live), ("checking", Some(Green)), "its checks are of before that");
    world.obey(&actions);
    world.settle();
    assert_eq!(world.app.live, Some(Blue));
}

#[test]
fn a_release_is_fetched_for_a_deployment_and_at_no_other_time() {
    let mut world = two(false);
    world.facts.prepared = None;
    assert!(!world.settle().contains(&Action::Prepare));
    world.hooks = vec![hook("start", HookPoint::BeforeStart, None)];
    world.deploy(1);
    let actions = world.settle();
    assert!(actions.contains(&Action::Prepare));
    world.obey(&actions);
    world.settle();
    // It is recorded, so another server need not know of it.
    world.facts.prepared = None;
    let actions = world.settle();
    assert!(actions.contains(&Action::RunHook("start".into())) && !actions.contains(&Action::Prepare), "{actions:?}");
}

#[test]
fn a_canary_that_no_data_plane_applies_in_time_is_taken_back() {
    let mut world = two(false);
    world.strategy = in_steps(&[(10, Some(3600))], 7200);
    let number = world.deploy(1);
    world.go_on_until_phase(number, "canary");
    let since = world.deployments[&number].canary.as_ref().unwrap().since;
    for (early, phase) in [(1, "canary"), (0, "reverted")] {
        world.facts.now = Timestamp(since.after(spec(1).timing.shift_timeout).0 - early);
        world.settle();
        assert_eq!(world.deployments[&number].phase.name(), phase);
    }
}

#[test]
fn a_rollback_says_how_its_release_came_back() {
    use crate::deployment::RollbackPath;
    let way = |park, change: fn(&mut InstanceFact)| {
        let mut world = two(park);
        let actions = world.settle();
        world.obey(&actions);
        let blue = world.first_of(Blue);
        change(world.fact(&blue));
        world.rollback();
        world.go_on_until_over();
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

//! The machine's invariants under random events in random order.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Deploy(u16),
    Rollback,
    Abort,
    Stop,
    Start,
    Remove,
    CarryOut,
    CarryOutFirst(usize),
    Exit(usize),
    Unhealthy(usize),
    RuntimeAway,
    PlaneAway,
    PlaneBack,
    InFlight(u64),
    PrepareFails,
    StartFails(usize),
    GatesFail(bool),
    HooksFail(bool),
    ServerRestarts,
    Approve,
    Reject,
    Steer(command::Steer),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (1u16..4).prop_map(Event::Deploy),
        1 => Just(Event::Rollback),
        1 => Just(Event::Abort),
        1 => Just(Event::Stop),
        1 => Just(Event::Start),
        1 => Just(Event::Remove),
        10 => Just(Event::CarryOut),
        3 => (0usize..4).prop_map(Event::CarryOutFirst),
        1 => (0usize..4).prop_map(Event::Exit),
        1 => (0usize..4).prop_map(Event::Unhealthy),
        1 => Just(Event::RuntimeAway),
        1 => Just(Event::PlaneAway),
        2 => Just(Event::PlaneBack),
        2 => (0u64..3).prop_map(Event::InFlight),
        1 => Just(Event::PrepareFails),
        1 => (0usize..4).prop_map(Event::StartFails),
        1 => any::<bool>().prop_map(Event::GatesFail),
        1 => any::<bool>().prop_map(Event::HooksFail),
        1 => Just(Event::ServerRestarts),
        2 => Just(Event::Approve),
        1 => Just(Event::Reject),
        2 => prop_oneof![
            Just(command::Steer::Pause),
            Just(command::Steer::Resume),
            Just(command::Steer::Next),
            (0u8..120).prop_map(command::Steer::Weight),
        ]
        .prop_map(Event::Steer),
        4 => (1u64..40_000).prop_map(Event::Wait),
    ]
}

impl World {
    fn nth_instance(&self, n: usize) -> Option<InstanceName> {
        self.facts.instances.as_ref()?.keys().nth(n).cloned()
    }

    fn happen(&mut self, event: Event) {
        let active = self.app.active.as_ref().map(|claim| claim.deployment);
        let by = self.by();
        match event {
            Event::Deploy(replicas) if self.app.desired != Desired::Removed => {
                (self.gates, self.approval) =
                    if replicas == 2 { safe_releases::demanding() } else { (Vec::new(), None) };
                self.strategy = if replicas == 3 {
                    canary::in_steps(&[(10, Some(20)), (50, None)], 30)
                } else {
                    Rollout::BlueGreen
                };
                self.hooks = if replicas == 2 { hooks::every_point() } else { Vec::new() };
                self.deploy(replicas.min(2));
            }
            Event::Rollback => self.rollback(),
            Event::Abort => {
                if let Some(active) = active {
                    let _ = command::abort(self.deployments.get_mut(&active).unwrap(), "aborted", &by);
                }
            }
            Event::Stop => {
                let _ = command::stop(&mut self.app, active.map(|n| &self.deployments[&n]));
            }
            Event::Start => {
                let _ = command::start(&mut self.app);
            }
            Event::Remove => {
                let _ = command::remove(&mut self.app, active.map(|n| &self.deployments[&n]));
            }
            Event::CarryOut => {
                let actions = self.settle();
                self.carry_out(&actions);
            }
            Event::CarryOutFirst(count) => {
                let actions = self.settle();
                self.carry_out(&actions[..count.min(actions.len())]);
            }
            Event::Exit(n) => {
                if let Some(name) = self.nth_instance(n) {
                    self.exit(&name);
                }
            }
            Event::Unhealthy(n) => {
                if let Some(name) = self.nth_instance(n) {
                    let all = self.facts.instances.as_mut().unwrap();
                    all.get_mut(&name).unwrap().health = Health { failures: 3, ..Health::default() };
                }
            }
            Event::RuntimeAway => self.facts.instances = None,
            Event::PlaneAway => self.facts.planes[0].view = None,
            Event::PlaneBack => self.apply_routes(),
            Event::InFlight(count) => {
                let ids = self.app.placements().map(|placement| (placement.id.clone(), count)).collect();
                if let Some(view) = &mut self.facts.planes[0].view {
                    view.in_flight = Some(ids);
                }
            }
            Event::PrepareFails => self.facts.prepared = Some(Err("no such image".into())),
            Event::StartFails(n) => {
                if let Some(name) = self.nth_instance(n) {
                    let all = self.facts.instances.as_mut().unwrap();
                    all.get_mut(&name).unwrap().start_error = Some("no".into());
                }
            }
            Event::GatesFail(do_fail) => self.do_gates_pass = !do_fail,
            Event::HooksFail(do_fail) => self.do_hooks_pass = !do_fail,
            Event::ServerRestarts => {
                self.facts.server.push('i');
                self.facts.hooks.clear();
                self.facts.gates.clear();
            }
            Event::Approve => self.approve(),
            Event::Reject => {
                if let Some(active) = active {
                    let _ = command::reject(self.deployments.get_mut(&active).unwrap(), "no", &by);
                }
            }
            Event::Steer(what) => {
                if let Some(active) = active {
                    let _ = command::steer(self.deployments.get_mut(&active).unwrap(), what, &by);
                }
            }
            Event::Wait(ms) => self.facts.now = self.facts.now.after(Millis(ms)),
            Event::Deploy(_) => {}
        }
        self.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn invariants_hold_and_every_deployment_ends(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        // The faults end: now every deployment must end, and no instance may be left over.
        world.facts.instances.get_or_insert_default();
        world.facts.prepared = None;
        world.do_gates_pass = true;
        world.apply_routes();
        world.run_until_done();
        for _ in 0..200 {
            world.facts.now = world.facts.now.after(Millis::from_secs(5));
            let actions = world.settle();
            world.carry_out(&actions);
        }
        prop_assert!(world.deployments.values().all(|deployment| deployment.phase.is_end()));
        prop_assert!(world.app.leaving.is_empty());
        let instances = world.facts.instances.as_ref().unwrap();
        prop_assert!(instances.keys().all(|name| world.app.placement_of(name).is_some()), "left over: {instances:?}");
        if let (Some(live), Desired::Running) = (world.app.live_placement(), world.app.desired) {
            prop_assert!(live.replicas.iter().all(|replica| replica.in_rotation), "the live slot does not recover");
        }
    }
}

//! The phases of the machine one by one, in a small simulated world.

use super::{State, Step, step};
use crate::application::{Application, Desired, Idle};
use crate::command::{self, Requester, Submission};
use crate::deployment::{Cause, Deployment, Outcome, Phase, RollbackPath};
use crate::facts::{Facts, GateEnd, Health, InstanceFact, InstanceSeen, PlaneFact, PlaneView};
use crate::gate::{Gate, GateResult};
use crate::hook::Hook;
use crate::spec::{ApprovalRule, HealthCheck, Process, Service, Timing, Workload};
use crate::strategy::Strategy as Rollout;
use crate::{Action, AppKey, Artifacts, InstanceName, Millis, Release, RouteGroup, ServiceName, Spec, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

mod actions;
mod canary;
mod deadlines;
mod hooks;
mod properties;
mod receipt;
mod reconcile;
mod safe_releases;
mod services;

fn spec(replicas: u16) -> Arc<Spec> {
    let command = vec!["/bin/shop".into()];
    let workload = Workload::Process(Process { command, directory: "/".into(), user: None });
    let web = Service { replicas: replicas.min(2), ..Service::new(workload.clone(), 9000) };
    let mut services = BTreeMap::from([(ServiceName::default(), web)]);
    // From the third instance on, instances belong to a worker, which answers no requests.
    if let Some(replicas) = replicas.checked_sub(2).filter(|replicas| *replicas > 0) {
        let health = HealthCheck { path: None, ..HealthCheck::default() };
        services.insert(worker(), Service { replicas, health, ..Service::new(workload.clone(), 0) });
    }
    Arc::new(Spec {
        services,
        routes: vec![crate::spec::Route {
            host: crate::HostPattern::any(),
            path: Default::default(),
            strip: false,
            service: ServiceName::default(),
        }],
        timing: Timing { keep_warm: Millis::from_secs(60), ..Timing::default() },
        ..Spec::new("shop/production".parse().unwrap(), workload, 9000)
    })
}

fn worker() -> ServiceName {
    "worker".parse().unwrap()
}

/// A small simulated world: records, facts, and a machine that is stepped until it rests.
struct World {
    app: Application,
    releases: BTreeMap<u64, Release>,
    deployments: BTreeMap<u64, Deployment>,
    facts: Facts,
    /// The gates of the next releases.
    gates: Vec<Gate>,
    approval: Option<ApprovalRule>,
    do_gates_pass: bool,
    strategy: Rollout,
    hooks: Vec<Hook>,
    do_hooks_pass: bool,
    /// The hooks that ran.
    hooks_run: Vec<String>,
    /// Deployments are carried out even if the same release is live.
    is_forced: bool,
}

impl World {
    fn new() -> Self {
        let key: AppKey = "shop/production".parse().unwrap();
        let facts = Facts {
            instances: Some(BTreeMap::new()),
            planes: vec![PlaneFact { name: "builtin".into(), view: Some(PlaneView::default()) }],
            ..Facts::default()
        };
        World {
            app: Application::new(key),
            releases: BTreeMap::new(),
            deployments: BTreeMap::new(),
            facts,
            gates: Vec::new(),
            approval: None,
            do_gates_pass: true,
            strategy: Rollout::BlueGreen,
            hooks: Vec::new(),
            do_hooks_pass: true,
            hooks_run: Vec::new(),
            is_forced: true,
        }
    }

    /// A world in which a release with `replicas` instances is live.
    fn live(replicas: u16) -> Self {
        let mut world = World::new();
        world.deploy(replicas);
        world.run_until_done();
        world
    }

    fn by(&self) -> Requester {
        Requester { name: "tester".into(), at: self.facts.now, secret: "token".into() }
    }

    fn deploy(&mut self, replicas: u16) -> u64 {
        let by = self.by();
        let (gates, approval) = (self.gates.clone(), self.approval.clone());
        let spec = Arc::new(Spec {
            gates,
            approval,
            strategy: self.strategy.clone(),
            hooks: self.hooks.clone(),
            ..(*spec(replicas)).clone()
        });
        let Submission { release, deployment, superseded } =
            command::deploy(&mut self.app, spec, Vec::new(), self.is_forced, &by).unwrap();
        for number in superseded {
            let old = self.deployments.get_mut(&number).unwrap();
            old.phase = Phase::Ended(Outcome::Cancelled(crate::deployment::Reason::new(Cause::Superseded, "newer")));
        }
        let number = deployment.number;
        self.releases.insert(release.number, release);
        self.deployments.insert(number, deployment);
        number
    }

    fn rollback(&mut self) {
        let active = self.app.active.as_ref().map(|claim| claim.deployment);
        let by = self.by();
        match command::rollback(&self.app, active.map(|n| &self.deployments[&n]), None, true) {
            Ok(command::Rollback::RevertActive) => {
                let active = self.deployments.get_mut(&active.unwrap()).unwrap();
                command::abort(active, "rolled back", &by).unwrap();
            }
            Ok(command::Rollback::Deploy { release }) => {
                if let Ok(deployment) = command::redeploy(&mut self.app, &self.releases[&release], &by) {
                    self.deployments.insert(deployment.number, deployment);
                }
            }
            Err(_) => {}
        }
    }

    fn state(&self) -> State {
        let number = self.app.active.as_ref().or(self.app.queue.first()).map(|claim| claim.deployment);
        let deployment = number.map(|n| self.deployments[&n].clone());
        let release = deployment.as_ref().map(|d| self.releases[&d.release].clone());
        State { app: self.app.clone(), deployment, release }
    }

    /// Steps until the record rests, and returns the actions that it then asks for. Panics if an invariant is broken.
    fn settle(&mut self) -> Vec<Action> {
        for _ in 0..50 {
            let before = self.state();
            match step(&before, &self.facts) {
                Step::Commit(next) => {
                    check_record(&next.app);
                    assert!(*before.app.key.app.as_str() == *next.app.key.app.as_str());
                    self.app = next.app;
                    if let Some(deployment) = next.deployment {
                        self.deployments.insert(deployment.number, deployment);
                    }
                    if let Some(release) = next.release {
                        self.releases.insert(release.number, release);
                    }
                }
                Step::Rest { actions, wake_at } => {
                    self.check_actions(&actions);
                    assert!(wake_at.is_none_or(|at| at > self.facts.now), "the wake-up time is in the past");
                    return actions;
                }
            }
        }
        panic!("the record never rests: {:?}", self.app);
    }

    fn check_actions(&self, actions: &[Action]) {
        for action in actions {
            let (Action::Stop { name, .. } | Action::Freeze(name)) = action else { continue };
            let Some(placement) = self.app.placement_of(name) else { continue };
            for plane in self.facts.planes.iter().filter(|_| placement.was_routed) {
                let view =
                    plane.view.as_ref().expect("stopped an instance to which an unreachable data plane may route");
                let mut routes = view.group.iter().flat_map(|group| group.placements());
                assert!(!routes.any(|slot| slot.placement == placement.id), "stopped a routed instance: {name}");
                let in_flight = view.in_flight.as_ref().and_then(|counts| counts.get(&placement.id)).unwrap_or(&0);
                let deadline = view.left_at[&placement.id].after(placement.spec.timing.drain_timeout);
                assert!(*in_flight == 0 || self.facts.now >= deadline, "stopped a draining instance: {name}");
            }
        }
    }

    /// Carries out the actions, as a healthy world does.
    fn carry_out(&mut self, actions: &[Action]) {
        let now = self.facts.now;
        for action in actions {
            match action {
                Action::Prepare => {
                    self.facts.prepared = Some(Ok(Artifacts::only("sha256:1")));
                    self.facts.hooks.clear();
                    self.facts.gates.clear();
                }
                Action::RunGate { name, attempt } => {
                    let lines = Vec::new();
                    let (passed, summary) = (self.do_gates_pass, "seen".to_owned());
                    let result = GateResult { passed, summary, lines, tests: None, latency: None };
                    self.facts.gates.insert(name.clone(), GateEnd { attempt: *attempt, since: now, result });
                }
                Action::Start(name) => self.run(name, now),
                Action::Stop { name, .. } => {
                    self.facts.instances.as_mut().unwrap().remove(name);
                }
                Action::Probe { name, .. } => {
                    if let Some(fact) = self.facts.instances.as_mut().unwrap().get_mut(name) {
                        fact.health = Health { passes: 1, passed_at: now, ..Health::default() };
                    }
                }
                Action::RunHook(name) => {
                    let (passed, summary) = (self.do_hooks_pass, "done".to_owned());
                    let result =
                        GateResult { passed, summary, lines: vec!["a line".into()], tests: None, latency: None };
                    self.facts.hooks.insert(name.clone(), result);
                    self.hooks_run.push(name.clone());
                }
                Action::Freeze(name) => self.freeze(name, true),
                Action::Thaw(name) => self.freeze(name, false),
                Action::SetRestart { .. } | Action::Keep(_) | Action::Promote(_) | Action::Forget => {}
            }
        }
        self.apply_routes();
    }

    fn freeze(&mut self, name: &InstanceName, is_frozen: bool) {
        let Some(fact) = self.facts.instances.as_mut().and_then(|all| all.get_mut(name)) else { return };
        fact.state = match (&fact.state, is_frozen) {
            (InstanceSeen::Running { run, .. }, true) => InstanceSeen::Frozen { run: run.clone() },
            (InstanceSeen::Frozen { run }, false) => {
                InstanceSeen::Running { address: "127.0.0.1:9000".parse().unwrap(), run: run.clone() }
            }
            (other, _) => other.clone(),
        };
    }

    fn run(&mut self, name: &InstanceName, now: Timestamp) {
        let fact = InstanceFact {
            state: InstanceSeen::Running { address: "127.0.0.1:9000".parse().unwrap(), run: format!("{now:?}") },
            health: Health::default(),
            start_error: None,
            restart_at: now.after(Millis::from_secs(1)),
        };
        self.facts.instances.get_or_insert_default().insert(name.clone(), fact);
    }

    fn apply_routes(&mut self) {
        let group = RouteGroup::derive(&self.app).map(Arc::new);
        let is_routed =
            |id: &crate::PlacementId| group.iter().flat_map(|g| g.placements()).any(|slot| slot.placement == *id);
        for plane in &mut self.facts.planes {
            let view = plane.view.get_or_insert_default();
            for placement in self.app.placements() {
                match is_routed(&placement.id) {
                    true => drop(view.left_at.remove(&placement.id)),
                    false => drop(view.left_at.entry(placement.id.clone()).or_insert(self.facts.now)),
                }
            }
            view.group = group.clone();
            view.in_flight = Some(BTreeMap::new());
        }
    }

    /// Runs a healthy world until no deployment is active or queued.
    fn run_until_done(&mut self) {
        for _ in 0..400 {
            let actions = self.settle();
            self.carry_out(&actions);
            self.approve();
            if self.app.active.is_none() && self.app.queue.is_empty() {
                return;
            }
            self.facts.now = self.facts.now.after(Millis(500));
        }
        panic!("a deployment never ends: {:?}", self.state().deployment);
    }

    /// Approves the active deployment if it waits for an approval.
    fn approve(&mut self) {
        let Some(claim) = &self.app.active else { return };
        let (number, by) = (claim.deployment, self.by());
        let deployment = self.deployments.get_mut(&number).unwrap();
        let rule = self.releases[&deployment.release].spec.approval.clone();
        let _ = command::approve(deployment, rule.as_ref(), &by);
    }

    fn exit(&mut self, name: &InstanceName) {
        if let Some(fact) = self.facts.instances.as_mut().and_then(|all| all.get_mut(name)) {
            fact.state = InstanceSeen::Exited { out_of_memory: false, details: "exited with code 3".into() };
        }
    }

    fn interrupt(&mut self, name: &InstanceName) {
        if let Some(fact) = self.facts.instances.as_mut().and_then(|all| all.get_mut(name)) {
            fact.state = InstanceSeen::Interrupted;
            fact.restart_at = Timestamp::default();
        }
    }

    fn run_until_phase(&mut self, number: u64, phase: &str) {
        for _ in 0..1000 {
            let actions = self.settle();
            if self.deployments[&number].phase.name() == phase {
                return;
            }
            self.carry_out(&actions);
            self.facts.now = self.facts.now.after(Millis(5));
        }
        panic!("deployment {number} is {:?}, never {phase}", self.deployments[&number].phase);
    }
}

fn check_record(app: &Application) {
    if let Some(live) = app.live {
        let placement = app.slots.get(&live).expect("the live slot is empty");
        assert!(placement.checked, "the live slot has not passed its checks");
        assert!(placement.was_routed);
    }
    for slot in RouteGroup::derive(app).iter().flat_map(|group| group.placements()) {
        let placement =
            app.slots.values().find(|placement| placement.id == slot.placement).expect("a route without slot");
        assert!(placement.checked, "a routed slot has not passed its checks");
    }
    let weights = |group: RouteGroup| group.slots.iter().map(|slot| slot.weight).filter(|w| *w > 0).collect::<Vec<_>>();
    let weights = RouteGroup::derive(app).map(weights).unwrap_or_default();
    let is_canary = app.slots.values().any(|placement| placement.share.is_some());
    assert!(weights.len() <= if is_canary { 2 } else { 1 }, "too many live slots: {weights:?}");
    assert!(weights.is_empty() || weights.iter().sum::<u32>() == 100);
    assert!(app.leaving.iter().all(|leaving| !app.slots.values().any(|placement| placement.id == leaving.id)));
}

#[test]
fn second_deployment_succeeds_and_old_slot_stands_by() {
    let mut world = World::new();
    let first = world.deploy(2);
    world.run_until_done();
    assert_eq!(world.deployments[&first].phase, Phase::Ended(Outcome::Succeeded { warning: None }));
    let second = world.deploy(2);
    world.run_until_done();
    assert_eq!(world.deployments[&second].phase.name(), "succeeded");
    assert_eq!(world.app.live, Some(crate::Slot::Green));
    assert!(matches!(world.app.slots[&crate::Slot::Blue].idle, Idle::Standby { .. }));
    assert_eq!(world.app.previous_release, Some(1));
    world.facts.now = world.facts.now.after(Millis::from_secs(100));
    let actions = world.settle();
    assert!(matches!(actions[..], [.., Action::Stop { .. }, Action::Stop { .. }]), "{actions:?}");
    world.carry_out(&actions);
    world.settle();
    assert!(world.app.leaving.is_empty() && world.app.slots.len() == 1);
}

#[test]
fn deployment_does_not_start_while_another_is_active() {
    let mut world = World::new();
    let first = world.deploy(1);
    world.settle();
    let second = world.deploy(1);
    let (deployment, release) = (world.deployments[&second].clone(), world.releases[&2].clone());
    let state = State { app: world.app.clone(), deployment: Some(deployment), release: Some(release) };
    if let Step::Commit(next) = step(&state, &world.facts) {
        assert_eq!(next.app.active.map(|claim| claim.deployment), Some(first));
        assert_eq!(next.deployment, state.deployment);
    }
}

#[test]
fn rollback_to_running_slot_starts_no_instance() {
    let mut world = World::new();
    for _ in 0..2 {
        world.deploy(1);
        world.run_until_done();
    }
    world.rollback();
    let before = world.facts.instances.clone();
    world.run_until_done();
    assert_eq!(world.app.live, Some(crate::Slot::Blue));
    assert_eq!(world.app.live_placement().unwrap().release, 1);
    let names = |facts: Option<BTreeMap<InstanceName, InstanceFact>>| facts.unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(names(before), names(world.facts.instances.clone()));
    assert_eq!(world.app.previous_release, Some(2), "a rollback can be rolled back");
}

#[test]
fn rollback_to_release_without_slot_starts_it_again() {
    let mut world = World::new();
    for _ in 0..3 {
        world.deploy(1);
        world.run_until_done();
    }
    assert_eq!(world.app.slots[&world.app.idle_slot()].release, 2, "the standby has another release");
    let by = world.by();
    let deployment = command::redeploy(&mut world.app, &world.releases[&1], &by).unwrap();
    let number = deployment.number;
    world.deployments.insert(number, deployment);
    world.run_until_done();
    assert_eq!(world.deployments[&number].rollback_path, Some(RollbackPath::Started));
    assert_eq!(world.app.live_placement().map(|live| (live.release, live.id.deployment)), Some((1, number)));
}

#[test]
fn exit_under_observation_reverts_and_routes_old_slot_in_one_change() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let second = world.deploy(1);
    world.run_until_phase(second, "observing");
    let new = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.exit(&new);
    let Step::Commit(next) = step(&world.state(), &world.facts) else { panic!("the exit has no effect") };
    assert_eq!(next.app.live_placement().unwrap().release, 1);
    assert!(matches!(next.deployment.unwrap().phase, Phase::Reverting(reason) if reason.cause == Cause::Exited));
    world.run_until_done();
    assert_eq!(world.deployments[&second].phase.name(), "reverted");
}

/// A restart of Docker ends the instances. That alone reverts nothing, and does not prevent a revert for a later exit.
#[test]
fn interrupted_instance_restarts_and_stays_under_observation() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    world.deploy(1);
    world.run_until_phase(2, "observing");
    let name = world.app.live_placement().unwrap().id.instance(&ServiceName::default(), 1);
    world.interrupt(&name);
    let actions = world.settle();
    assert_eq!(world.deployments[&2].phase.name(), "observing");
    assert!(actions.contains(&Action::Start(name.clone())), "{actions:?}");
    // The data plane sends no more requests, while no instance exists.
    let id = world.app.live_placement().unwrap().id.clone();
    world.apply_routes();
    world.facts.planes[0].view.as_mut().unwrap().circuit_open.insert(id, 15);
    world.settle();
    assert_eq!(world.deployments[&2].phase.name(), "observing");
    world.facts.planes[0].view.as_mut().unwrap().circuit_open.clear();
    world.facts.now = world.facts.now.after(Millis(1));
    world.carry_out(&actions);
    let actions = world.settle();
    world.carry_out(&actions);
    world.settle();
    assert_eq!(world.deployments[&2].phase.name(), "observing");
    world.exit(&name);
    world.settle();
    assert_eq!(world.deployments[&2].phase.name(), "reverting");
}

#[test]
fn interrupted_candidate_fails_and_live_slot_stays() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let live = world.app.live;
    world.deploy(1);
    world.run_until_phase(2, "checking");
    let idle = world.app.idle_slot();
    let name = world.app.slots[&idle].instances().next().unwrap();
    world.interrupt(&name);
    world.settle();
    assert_eq!((world.deployments[&2].phase.name(), world.app.live), ("failed", live));
}

#[test]
fn machine_waits_while_runtime_does_not_answer() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let second = world.deploy(1);
    world.run_until_phase(second, "observing");
    world.facts.instances = None;
    assert_eq!(world.settle(), []);
    assert_eq!(world.deployments[&second].phase.name(), "observing");
}

#[test]
fn old_slot_keeps_running_while_data_plane_is_away() {
    let mut world = World::new();
    world.deploy(1);
    world.run_until_done();
    let second = world.deploy(1);
    world.run_until_phase(second, "shifting");
    world.facts.planes[0].view = None;
    world.facts.now = world.facts.now.after(Millis::from_secs(3600));
    let actions = world.settle();
    assert!(!actions.iter().any(|action| matches!(action, Action::Stop { .. })), "{actions:?}");
    world.facts.now = world.facts.now.after(Millis::from_secs(3600));
    world.settle();
    assert_eq!(world.deployments[&second].phase.name(), "reverted", "every wait ends");
}

#[test]
fn last_running_instance_stays_in_rotation_whatever_its_checks() {
    let mut world = World::new();
    world.deploy(2);
    world.run_until_done();
    let names: Vec<_> = world.app.live_placement().unwrap().instances().collect();
    let in_rotation = |world: &World| {
        let replicas = &world.app.live_placement().unwrap().replicas;
        replicas.iter().filter(|replica| replica.in_rotation).count()
    };
    world.facts.instances.as_mut().unwrap().get_mut(&names[0]).unwrap().health =
        Health { failures: 3, ..Health::default() };
    world.settle();
    assert_eq!(in_rotation(&world), 1);
    world.facts.instances.as_mut().unwrap().get_mut(&names[1]).unwrap().health =
        Health { failures: 3, ..Health::default() };
    world.settle();
    assert_eq!(in_rotation(&world), 1);
}

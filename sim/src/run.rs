//! One simulation: a while of faults, people and crashes, then peace; and the judgement.

use crate::dice::Dice;
use crate::people::{self, APPS, DRAIN};
use crate::plane::{self, FakePlane};
use crate::runtime::{self, FakeRuntime};
use crate::store::FaultyStore;
use crate::world::{Behaviour, World};
use gapless_core::application::Desired;
use gapless_core::gate::GateResult;
use gapless_core::{AppKey, RouteGroup};
use gapless_runtime::RuntimeEvent;
use gapless_server::clock::Clock;
use gapless_server::controller::{Bells, Controllers, Shared};
use gapless_server::gates::{GateRun, GateRunner};
use gapless_server::health::{ProbeFailure, Prober};
use gapless_server::operations::Operations;
use gapless_server::planes::{DataPlane, Planes};
use gapless_server::records::Records;
use gapless_server::runtimes::Runtimes;
use gapless_server::tables::Tables;
use gapless_store::MemoryStore;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// How long the troubled part lasts, in simulated time.
const TROUBLE: Duration = Duration::from_secs(120);
/// How long everything may take to come to its end afterwards.
const PEACE: Duration = Duration::from_secs(120);

/// How long what follows from a deployment's end may take: a slot is parked, and does not come back at boot.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// What broke; empty is as it should be.
    pub violations: Vec<String>,
    /// What happened, line by line.
    pub story: Vec<String>,
    /// Requests that were sent.
    pub requests: u64,
    /// Deployments that ended.
    pub deployments: u64,
}

/// Runs the simulation of that seed.
///
/// # Errors
/// If the simulated runtime cannot be built.
pub fn run(seed: u64) -> std::io::Result<Outcome> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(tokio.block_on(Simulation::new(seed).run()))
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// The seeds that broke a rule, each with the first that it broke.
    pub failed: Vec<(u64, String)>,
    /// Requests that were sent.
    pub requests: u64,
    /// Deployments that ended.
    pub deployments: u64,
}

/// Runs the simulations of many seeds, on all cores.
///
/// # Errors
/// As [`run`].
pub fn run_many(seeds: Range<u64>) -> std::io::Result<Summary> {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || -> std::io::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let outcome = run(seed)?;
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.requests += outcome.requests;
            summary.deployments += outcome.deployments;
            summary.failed.extend(outcome.violations.into_iter().next().map(|violation| (seed, violation)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|done| done.unwrap_or_else(|_| Err(std::io::Error::other("a simulation panicked"))))
            .collect::<Vec<_>>()
    });
    done.into_iter().collect::<Result<(), _>>()?;
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failed.sort();
    Ok(summary)
}

struct Simulation {
    dice: Dice,
    world: World,
    store: MemoryStore,
    planes: Vec<Arc<dyn DataPlane>>,
    events: broadcast::Sender<RuntimeEvent>,
    outside: JoinSet<()>,
}

/// A server that runs; dropping it is killing it, at whatever await point each of its tasks is.
struct Server {
    operations: Operations,
    records: Records,
    _tasks: JoinSet<()>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let (dice, world) = (Dice::new(seed), World::new(true));
        let (events, _) = broadcast::channel(1024);
        let count = 1 + dice.below(2);
        let planes = (0..count).map(|_| Arc::new(FakePlane::new(world.clone(), dice.clone())) as Arc<dyn DataPlane>);
        Simulation { planes: planes.collect(), dice, world, store: MemoryStore::new(), events, outside: JoinSet::new() }
    }

    async fn run(mut self) -> Outcome {
        for index in 0..self.planes.len() {
            self.outside.spawn(plane::requests(self.world.clone(), self.dice.clone(), index));
            self.outside.spawn(plane::outages(self.world.clone(), self.dice.clone(), index));
        }
        self.outside.spawn(runtime::mortality(self.world.clone(), self.dice.clone(), self.events.clone()));
        let mut server = Some(self.start_server().await);
        let trouble_ends = tokio::time::Instant::now() + TROUBLE;
        while tokio::time::Instant::now() < trouble_ends && self.world.lock().violations.is_empty() {
            self.dice.wait_up_to(6_000).await;
            if let Some(server) = &server {
                people::act(&server.operations, &self.world, &self.dice).await;
            }
            if self.dice.once_in(6) {
                self.world.tell("the server is killed");
                drop(server.take());
                self.dice.wait_up_to(4_000).await;
                server = Some(self.start_server().await);
                self.world.tell("the server is back");
            }
        }
        self.world.lock().has_faults = false;
        self.world.tell("peace");
        let server = match server {
            Some(server) => server,
            None => self.start_server().await,
        };
        tokio::time::sleep(PEACE).await;
        self.judge(&server).await;
        self.deploy_once_more(&server).await;
        let deployments = self.count_deployments(&server).await;
        let mut state = self.world.lock();
        Outcome {
            violations: std::mem::take(&mut state.violations),
            story: std::mem::take(&mut state.story),
            requests: state.requests,
            deployments,
        }
    }

    async fn start_server(&self) -> Server {
        let store = FaultyStore { inner: self.store.clone(), world: self.world.clone(), dice: self.dice.clone() };
        let records = Records::new(Arc::new(store));
        let (revision, apps) = loop {
            match records.applications().await {
                Ok(read) => break read,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let bells = Bells::default();
        let runtime = Arc::new(FakeRuntime {
            world: self.world.clone(),
            dice: self.dice.clone(),
            events: self.events.clone(),
            drain: DRAIN,
        });
        let clock = Clock::new({
            let world = self.world.clone();
            move || world.now()
        });
        let planes = Planes::new(clock.clone(), {
            let bells = bells.clone();
            move |key| bells.ring(key)
        });
        let shared = Arc::new(Shared {
            records: records.clone(),
            runtimes: Runtimes {
                docker: runtime.clone(),
                process: runtime.clone(),
                systemd: runtime.clone(),
                has_systemd: false,
            },
            planes: planes.clone(),
            tables: Tables::new(revision, &apps),
            promotions: tokio::sync::mpsc::unbounded_channel().0,
            run: format!("{:016x}", self.dice.below(u64::MAX)),
            clock,
            prober: self.prober(),
            gate_runner: self.gate_runner(),
            outputs: broadcast::channel(1).0,
            changes: broadcast::channel(64).0,
            progress: Default::default(),
        });
        let controllers = Arc::new(Controllers::new(shared.clone(), bells));
        let mut tasks = JoinSet::new();
        for plane in &self.planes {
            tasks.spawn(planes.clone().keep(plane.clone(), shared.tables.clone()));
        }
        tasks.spawn({
            let controllers = controllers.clone();
            async move { controllers.follow_events("fake", runtime).await }
        });
        apps.iter().for_each(|app| controllers.wake(&app.key));
        Server { operations: Operations::new(shared, controllers), records, _tasks: tasks }
    }

    fn prober(&self) -> Prober {
        let (world, dice) = (self.world.clone(), self.dice.clone());
        Arc::new(move |address, _| {
            let (world, dice) = (world.clone(), dice.clone());
            Box::pin(async move {
                dice.wait_up_to(20).await;
                let is_lost = world.has_faults() && dice.once_in(30);
                let mut state = world.lock();
                let instance = state.instances.values_mut().find(|instance| instance.address == address);
                match instance.filter(|instance| instance.is_running && instance.behaviour != Behaviour::NeverHealthy) {
                    Some(instance) if !is_lost && !instance.is_frozen => {
                        instance.has_passed = true;
                        Ok(())
                    }
                    _ => Err(ProbeFailure { is_refused: true, message: "connection refused".to_owned() }),
                }
            })
        })
    }

    /// Gates take a while, and those that are not good fail.
    fn gate_runner(&self) -> GateRunner {
        let (world, dice) = (self.world.clone(), self.dice.clone());
        Arc::new(move |run: GateRun| {
            let (world, dice) = (world.clone(), dice.clone());
            Box::pin(async move {
                dice.wait_up_to(3_000).await;
                let passed = run.gate.name.contains("good") && !(world.has_faults() && dice.once_in(20));
                GateResult { passed, summary: "simulated".to_owned(), lines: Vec::new(), tests: None, latency: None }
            })
        })
    }

    /// After the faults everything has come to its end, and the record, the routes and the world agree.
    async fn judge(&self, server: &Server) {
        let mut violations = Vec::new();
        let apps = server.records.applications().await.map(|(_, apps)| apps).unwrap_or_default();
        for app in &apps {
            let key = &app.key;
            if app.active.is_some() || !app.queue.is_empty() {
                violations.push(format!("{key}: a deployment never ends: {:?}, {:?}", app.active, app.queue));
            }
            if !app.leaving.is_empty() {
                violations
                    .push(format!("{key}: never stopped: {:?}", app.leaving.iter().map(|p| &p.id).collect::<Vec<_>>()));
            }
            if app.desired == Desired::Removed {
                violations.push(format!("{key} is never removed"));
            }
            let wanted = RouteGroup::derive(app);
            for (index, plane) in self.world.lock().planes.iter().enumerate() {
                if plane.table.groups.get(key).map(AsRef::as_ref) != wanted.as_ref() {
                    violations.push(format!("{key}: data plane {index} has other routes than the record"));
                }
            }
            let live = app.live_placement().filter(|_| app.desired == Desired::Running);
            for name in live.into_iter().flat_map(|live| live.instances()) {
                let state = self.world.lock();
                let is_doomed = state.instances.get(&name).is_some_and(|i| i.behaviour != Behaviour::Good);
                if !is_doomed && !state.instances.get(&name).is_some_and(|instance| instance.is_running) {
                    violations.push(format!("{key}: the live instance {name} does not run"));
                }
            }
        }
        let state = self.world.lock();
        for name in state.instances.keys() {
            let app = apps.iter().find(|app| app.key == name.placement.key);
            let is_wanted = app.is_some_and(|app| {
                let is_stopped = app.desired == Desired::Stopped;
                app.placement_of(name).is_some_and(|placement| !is_stopped || app.live != Some(placement.id.slot))
            });
            if !is_wanted {
                violations.push(format!("{name} is left over"));
            }
        }
        drop(state);
        violations.into_iter().for_each(|violation| self.world.lock().violate(violation));
    }

    /// The next deployment works, without anybody's help.
    async fn deploy_once_more(&self, server: &Server) {
        for app in APPS {
            let Ok(key) = app.parse::<AppKey>() else { continue };
            let by = people::someone(&self.world, &self.dice);
            let deployed = server.operations.deploy(&key, people::good(&key), Vec::new(), true, &by).await;
            let shown = match deployed {
                Ok(deployment) => self.ended(server, &key, deployment.number).await,
                Err(error) => error.to_string(),
            };
            if shown != "succeeded" {
                self.world.lock().violate(format!("{key}: the next deployment: {shown}"));
            }
            tokio::time::sleep(SETTLED_AFTER).await;
            self.judge_reboot(server, &key).await;
        }
    }

    /// How that deployment ended; the phase in which it still is when it had its time.
    async fn ended(&self, server: &Server, key: &AppKey, number: u64) -> String {
        let give_up_at = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let phase = match server.operations.deployment(key, number).await {
                Ok(found) => found.record.phase,
                Err(error) => return error.to_string(),
            };
            if phase.is_end() || tokio::time::Instant::now() >= give_up_at {
                return phase.name().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// If the host were started again now, the live slot would come back, and no other.
    async fn judge_reboot(&self, server: &Server, key: &AppKey) {
        let Ok(app) = server.operations.application(key).await else { return };
        let state = self.world.lock();
        let theirs =
            state.instances.iter().filter(|(name, instance)| name.placement.key == *key && instance.is_running);
        let wrong = theirs.filter(|(name, i)| i.comes_back != (app.record.live == Some(name.placement.slot)));
        let wrong: Vec<_> = wrong.map(|(name, i)| format!("{name} comes back at boot: {}", i.comes_back)).collect();
        drop(state);
        wrong.into_iter().for_each(|violation| self.world.lock().violate(violation));
    }

    async fn count_deployments(&self, server: &Server) -> u64 {
        let mut count = 0;
        for app in APPS {
            if let Ok(key) = app.parse::<AppKey>() {
                let found = server.operations.application(&key).await;
                count += found.map(|app| app.record.last_deployment).unwrap_or(0);
            }
        }
        count
    }
}

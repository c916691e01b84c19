//! Hosts with servers that start, are killed and pause. Of two servers one leads at a time.

use crate::lease::{Fence, Lease};
use crate::pause::Pause;
use crate::people::DRAIN;
use crate::plane::FakePlane;
use crate::records::RecordJudge;
use crate::rng::Rng;
use crate::runtime::FakeRuntime;
use crate::store::FaultyStore;
use crate::timeline::Source;
use crate::world::{Behaviour, World};
use gapless_core::gate::GateResult;
use gapless_runtime::RuntimeEvent;
use gapless_server::clock::Clock;
use gapless_server::controller::{Controllers, Shared, Wakers};
use gapless_server::gates::{GateRun, GateRunner};
use gapless_server::health::{ProbeFailure, ProbeFailureKind, Prober};
use gapless_server::operations::Operations;
use gapless_server::planes::Planes;
use gapless_server::records::{RecordError, Records};
use gapless_server::runtimes::Runtimes;
use gapless_server::tables::Tables;
use gapless_store::{MemoryStore, StoreError};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// The interval of a leader's lease renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The interval of a follower's attempts to acquire the lease.
const ACQUIRE_EVERY: Duration = Duration::from_millis(200);

/// Everything that all servers share.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) rng: Rng,
    pub(crate) world: World,
    pub(crate) store: MemoryStore,
    pub(crate) judge: RecordJudge,
    pub(crate) planes: usize,
    pub(crate) events: broadcast::Sender<RuntimeEvent>,
    /// The lease of the leader, if there are several servers.
    pub(crate) lease: Option<Lease>,
}

/// A host, whose server can be killed and restarted.
pub(crate) struct Host {
    index: usize,
    environment: Environment,
    pub(crate) pause: Pause,
    server: Arc<Mutex<Option<Arc<Server>>>>,
    task: Option<AbortHandle>,
}

/// A running server. Dropping it kills it: each of its tasks ends at its next await point.
pub(crate) struct Server {
    pub(crate) operations: Operations,
    pub(crate) records: Records,
    pub(crate) clock: Clock,
    controllers: Arc<Controllers>,
    tasks: Mutex<JoinSet<()>>,
}

impl Server {
    /// Runs a task that ends with the server.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn kill(&self) {
        self.controllers.end();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Host {
    pub(crate) fn new(index: usize, environment: Environment) -> Self {
        Host { index, environment, pause: Pause::new(), server: Arc::default(), task: None }
    }

    /// Starts the server. It works immediately if it is alone; of several servers only the leader works.
    pub(crate) fn start(&mut self, tasks: &mut JoinSet<()>) {
        let served = serve(self.index, self.environment.clone(), self.pause.clone(), self.server.clone());
        self.task = Some(tasks.spawn(served));
    }

    /// The server, while it works.
    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn kill(&mut self) {
        self.environment.world.log(Source::Server(self.index), || "is killed".to_owned());
        self.task.take().iter().for_each(AbortHandle::abort);
        set(&self.server, None);
    }

    pub(crate) fn pause_for(&self, time: Duration) {
        self.environment.world.log(Source::Server(self.index), || format!("pauses for {} ms", time.as_millis()));
        self.pause.pause_for(time);
    }
}

fn set(place: &Mutex<Option<Arc<Server>>>, server: Option<Arc<Server>>) {
    let before = std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), server);
    before.iter().for_each(|server| server.kill());
}

/// Runs a server: alone it works immediately, else while it leads.
async fn serve(index: usize, environment: Environment, pause: Pause, place: Arc<Mutex<Option<Arc<Server>>>>) {
    let log = |what: &str| environment.world.log(Source::Server(index), || what.to_owned());
    loop {
        let fence = match &environment.lease {
            Some(lease) => Some(acquire(lease, &environment, &pause).await),
            None => None,
        };
        let started = start(&environment, &pause, fence.clone()).await;
        if let Ok(server) = started {
            log(if fence.is_some() { "leads" } else { "works" });
            set(&place, Some(Arc::new(server)));
        }
        match fence {
            Some(fence) => renew(&fence, &environment, &pause).await,
            None => std::future::pending().await,
        }
        set(&place, None);
        log("has lost the lead; restarts");
        environment.rng.wait_up_to(500).await;
    }
}

async fn acquire(lease: &Lease, environment: &Environment, pause: &Pause) -> Fence {
    loop {
        pause.wait().await;
        let sent_at = Instant::now();
        environment.rng.wait_up_to(20).await;
        if let Some(fence) = lease.acquire() {
            fence.renewed_at(sent_at);
            return fence;
        }
        tokio::time::sleep(ACQUIRE_EVERY).await;
    }
}

/// Renews the lease until it is lost.
async fn renew(fence: &Fence, environment: &Environment, pause: &Pause) {
    while fence.is_valid() {
        tokio::time::sleep(RENEW_EVERY).await;
        pause.wait().await;
        let sent_at = Instant::now();
        environment.rng.wait_up_to(20).await;
        let has_faults = environment.world.has_faults();
        if has_faults && environment.rng.once_in(15) {
            continue;
        }
        if !fence.renew() {
            return;
        }
        // Renewed, but the answer may be lost.
        if !(has_faults && environment.rng.once_in(15)) {
            fence.renewed_at(sent_at);
        }
    }
}

async fn start(environment: &Environment, pause: &Pause, fence: Option<Fence>) -> Result<Server, RecordError> {
    let Environment { rng, world, store, judge, planes, events, .. } = environment.clone();
    let pause = pause.clone();
    let store = Arc::new(FaultyStore {
        inner: store,
        world: world.clone(),
        rng: rng.clone(),
        judge,
        pause: pause.clone(),
        fence,
    });
    let records = Records::new(store.clone());
    let clock = Clock::new({
        let world = world.clone();
        move || world.wall()
    });
    let (revision, apps) = loop {
        let read = async {
            let (revision, apps) = records.applications().await?;
            clock.advance_to_records(&records, &apps).await?;
            Ok::<_, RecordError>((revision, apps))
        };
        match read.await {
            Ok(read) => break read,
            Err(RecordError::Store(StoreError::Deposed)) => return Err(RecordError::Store(StoreError::Deposed)),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let wakers = Wakers::default();
    let runtime = Arc::new(FakeRuntime {
        world: world.clone(),
        rng: rng.clone(),
        events,
        drain: DRAIN.to_duration(),
        pause: pause.clone(),
    });
    let wake = {
        let wakers = wakers.clone();
        move |key: Option<&_>| wakers.wake(key)
    };
    let shared = Arc::new(Shared {
        records: records.clone(),
        runtimes: Runtimes {
            docker: runtime.clone(),
            process: runtime.clone(),
            systemd: runtime.clone(),
            has_systemd: false,
        },
        planes: Planes::new(clock.clone(), wake),
        tables: Tables::new(revision, &apps),
        promotions: tokio::sync::mpsc::unbounded_channel().0,
        run: format!("{:016x}", rng.below(u64::MAX)),
        clock: clock.clone(),
        prober: prober(environment, &pause),
        gate_runner: gate_runner(environment, &pause),
        outputs: broadcast::channel(1).0,
        changes: broadcast::channel(64).0,
        progress: Default::default(),
    });
    let controllers = Arc::new(Controllers::new(shared.clone(), wakers));
    let mut tasks = JoinSet::new();
    for index in 0..planes {
        let plane = FakePlane { world: world.clone(), rng: rng.clone(), index, pause: pause.clone() };
        tasks.spawn(shared.planes.clone().sync(Arc::new(plane), shared.tables.clone(), shared.records.clone()));
    }
    tasks.spawn({
        let controllers = controllers.clone();
        async move { controllers.follow_events("fake", runtime).await }
    });
    tasks.spawn({
        let controllers = controllers.clone();
        async move { controllers.follow_records(store).await }
    });
    apps.iter().for_each(|app| controllers.wake(&app.key));
    let operations = Operations::new(shared, controllers.clone());
    Ok(Server { operations, records, clock, controllers, tasks: Mutex::new(tasks) })
}

fn prober(environment: &Environment, pause: &Pause) -> Prober {
    let (world, rng, pause) = (environment.world.clone(), environment.rng.clone(), pause.clone());
    Arc::new(move |address, _| {
        let (world, rng, pause) = (world.clone(), rng.clone(), pause.clone());
        Box::pin(async move {
            pause.wait().await;
            rng.wait_up_to(20).await;
            let is_lost = world.has_faults() && rng.once_in(30);
            let mut state = world.lock();
            let instance = state.instances.values_mut().find(|instance| instance.address == address);
            match instance.filter(|instance| instance.is_running && instance.behaviour != Behaviour::NeverHealthy) {
                Some(instance) if !is_lost && !instance.is_frozen => {
                    instance.has_passed = true;
                    Ok(())
                }
                _ => Err(ProbeFailure { kind: ProbeFailureKind::Refused, message: "connection refused".to_owned() }),
            }
        })
    })
}

/// Runs gates and hooks: each takes a random time, and fails unless it is named good.
fn gate_runner(environment: &Environment, pause: &Pause) -> GateRunner {
    let (world, rng, pause) = (environment.world.clone(), environment.rng.clone(), pause.clone());
    Arc::new(move |run: GateRun| {
        let (world, rng, pause) = (world.clone(), rng.clone(), pause.clone());
        Box::pin(async move {
            pause.wait().await;
            if run.gate.name.contains("hook") {
                world.lock().start_hook(&run.target.key, run.target.deployment, &run.gate.name);
            }
            rng.wait_up_to(3_000).await;
            let passed = run.gate.name.contains("good") && !(world.has_faults() && rng.once_in(20));
            GateResult { passed, summary: "simulated".to_owned(), lines: Vec::new(), tests: None, latency: None }
        })
    })
}

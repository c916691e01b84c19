//! Servers: begun, killed, paused, and, where there are two, taking turns in leading.

use crate::dice::Dice;
use crate::lease::{Fence, Lease};
use crate::pause::Pause;
use crate::people::DRAIN;
use crate::plane::FakePlane;
use crate::records::RecordJudge;
use crate::runtime::FakeRuntime;
use crate::store::FaultyStore;
use crate::story::Who;
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

/// How often a leader keeps its lease alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How soon a server that does not lead tries to.
const TAKE_AFTER: Duration = Duration::from_millis(200);

/// What all servers share.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) dice: Dice,
    pub(crate) world: World,
    pub(crate) store: MemoryStore,
    pub(crate) judge: RecordJudge,
    pub(crate) planes: usize,
    pub(crate) events: broadcast::Sender<RuntimeEvent>,
    /// Where there are several servers.
    pub(crate) lease: Option<Lease>,
}

/// A place for a server, which comes and goes.
pub(crate) struct Host {
    index: usize,
    outside: Outside,
    pub(crate) pause: Pause,
    server: Arc<Mutex<Option<Arc<Server>>>>,
    task: Option<AbortHandle>,
}

/// A server that runs; ending it is killing it, at whatever await point each of its tasks is.
pub(crate) struct Server {
    pub(crate) operations: Operations,
    pub(crate) records: Records,
    pub(crate) clock: Clock,
    controllers: Arc<Controllers>,
    tasks: Mutex<JoinSet<()>>,
}

impl Server {
    /// Something that it does for somebody, and that ends with it.
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
    pub(crate) fn new(index: usize, outside: Outside) -> Self {
        Host { index, outside, pause: Pause::new(), server: Arc::default(), task: None }
    }

    /// Begins its server, or has it wait for its turn.
    pub(crate) fn begin(&mut self, tasks: &mut JoinSet<()>) {
        let live = live(self.index, self.outside.clone(), self.pause.clone(), self.server.clone());
        self.task = Some(tasks.spawn(live));
    }

    /// The server, while it has one that works.
    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn kill(&mut self) {
        self.outside.world.tell(Who::Server(self.index), || "is killed".to_owned());
        self.task.take().iter().for_each(AbortHandle::abort);
        set(&self.server, None);
    }

    pub(crate) fn stand_still(&self, time: Duration) {
        self.outside.world.tell(Who::Server(self.index), || format!("stands still for {} ms", time.as_millis()));
        self.pause.stand_still(time);
    }
}

fn set(place: &Mutex<Option<Arc<Server>>>, server: Option<Arc<Server>>) {
    let before = std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), server);
    before.iter().for_each(|server| server.kill());
}

/// The life of a server: alone it works at once, else it works while it leads.
async fn live(index: usize, outside: Outside, pause: Pause, place: Arc<Mutex<Option<Arc<Server>>>>) {
    let tell = |what: &str| outside.world.tell(Who::Server(index), || what.to_owned());
    loop {
        let fence = match &outside.lease {
            Some(lease) => Some(take(lease, &outside, &pause).await),
            None => None,
        };
        let begun = start(&outside, &pause, fence.clone()).await;
        if let Ok(server) = begun {
            tell(if fence.is_some() { "leads" } else { "is at work" });
            set(&place, Some(Arc::new(server)));
        }
        match fence {
            Some(fence) => keep(&fence, &outside, &pause).await,
            None => std::future::pending().await,
        }
        set(&place, None);
        tell("does not lead any more, and begins anew");
        outside.dice.wait_up_to(500).await;
    }
}

async fn take(lease: &Lease, outside: &Outside, pause: &Pause) -> Fence {
    loop {
        pause.pass().await;
        let sent_at = Instant::now();
        outside.dice.wait_up_to(20).await;
        if let Some(fence) = lease.take() {
            fence.is_kept_since(sent_at);
            return fence;
        }
        tokio::time::sleep(TAKE_AFTER).await;
    }
}

/// Keeps the lease alive until it is lost.
async fn keep(fence: &Fence, outside: &Outside, pause: &Pause) {
    while fence.is_valid() {
        tokio::time::sleep(KEEP_ALIVE_EVERY).await;
        pause.pass().await;
        let sent_at = Instant::now();
        outside.dice.wait_up_to(20).await;
        let has_faults = outside.world.has_faults();
        if has_faults && outside.dice.once_in(15) {
            continue;
        }
        if !fence.keep_alive() {
            return;
        }
        // Kept, and the answer may be lost.
        if !(has_faults && outside.dice.once_in(15)) {
            fence.is_kept_since(sent_at);
        }
    }
}

async fn start(outside: &Outside, pause: &Pause, fence: Option<Fence>) -> Result<Server, RecordError> {
    let Outside { dice, world, store, judge, planes, events, .. } = outside.clone();
    let pause = pause.clone();
    let store = Arc::new(FaultyStore {
        inner: store,
        world: world.clone(),
        dice: dice.clone(),
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
        dice: dice.clone(),
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
        run: format!("{:016x}", dice.below(u64::MAX)),
        clock: clock.clone(),
        prober: prober(outside, &pause),
        gate_runner: gate_runner(outside, &pause),
        outputs: broadcast::channel(1).0,
        changes: broadcast::channel(64).0,
        progress: Default::default(),
    });
    let controllers = Arc::new(Controllers::new(shared.clone(), wakers));
    let mut tasks = JoinSet::new();
    for index in 0..planes {
        let plane = FakePlane { world: world.clone(), dice: dice.clone(), index, pause: pause.clone() };
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

fn prober(outside: &Outside, pause: &Pause) -> Prober {
    let (world, dice, pause) = (outside.world.clone(), outside.dice.clone(), pause.clone());
    Arc::new(move |address, _| {
        let (world, dice, pause) = (world.clone(), dice.clone(), pause.clone());
        Box::pin(async move {
            pause.pass().await;
            dice.wait_up_to(20).await;
            let is_lost = world.has_faults() && dice.once_in(30);
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

/// Gates and hooks take a while, and those that are not good fail.
fn gate_runner(outside: &Outside, pause: &Pause) -> GateRunner {
    let (world, dice, pause) = (outside.world.clone(), outside.dice.clone(), pause.clone());
    Arc::new(move |run: GateRun| {
        let (world, dice, pause) = (world.clone(), dice.clone(), pause.clone());
        Box::pin(async move {
            pause.pass().await;
            if run.gate.name.contains("hook") {
                world.lock().begin_hook(&run.target.key, run.target.deployment, &run.gate.name);
            }
            dice.wait_up_to(3_000).await;
            let passed = run.gate.name.contains("good") && !(world.has_faults() && dice.once_in(20));
            GateResult { passed, summary: "simulated".to_owned(), lines: Vec::new(), tests: None, latency: None }
        })
    })
}

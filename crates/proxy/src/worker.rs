//! One core of the data plane: a thread with an event loop, its connections and its pool. Cores share the table and
//! nothing else.

use crate::balance::Dice;
use crate::connection;
use crate::deadlines::Deadlines;
use crate::headers::RequestIds;
use crate::limits::Limits;
use crate::placement::Placement;
use crate::plane::Plane;
use crate::pool::Pool;
use crate::router::{Group, Routes};
use crate::session::Phase;
use arc_swap::{ArcSwap, Cache};
use gapless_core::AppKey;
use hyper::server::conn::http1;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_local, yield_now};

/// How long accepting pauses when the system has no more descriptors, or all connections are taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How often the pool is looked through.
const POOL_CLEANING: Duration = Duration::from_secs(1);

/// How long an idle connection may still send a request when the data plane stops: closing it at once could cross with
/// one.
const STOP_IDLE: Duration = Duration::from_secs(2);

/// Connections that rested for less are not ended to make room for others: the client may be about to send.
const RESTED_MIN: Duration = Duration::from_secs(1);

/// For how many connections a core makes room at a time.
const ROOM: usize = 32;

/// How many requests that were held are under way at once, on all cores, when they are let go: fewer than the 511 or 512
/// connections that many servers and kernels queue. With 800, some waited a second for the kernel's second try.
const LET_GO_AT_ONCE_MAX: usize = 500;

/// What is left of the time for stopping when tunnels and event streams are closed.
const STOP_TUNNELS: Duration = Duration::from_secs(3);

/// What a core is told.
pub(crate) enum Order {
    /// Accept connections here.
    Listen(TcpListener),
    /// The table has changed. Answered when nothing on this core is sent by an older one.
    Table(Changed, oneshot::Sender<()>),
    /// Accept no more, finish what there is, end.
    Stop,
}

/// What a new table means for a core.
#[derive(Debug, Default, Clone)]
pub(crate) struct Changed {
    /// Placements that are no longer live.
    pub(crate) drained: Vec<Arc<Placement>>,
    /// Placements that are live again.
    pub(crate) revived: Vec<Arc<Placement>>,
    /// Instances whose connections are not needed any more.
    pub(crate) closed: Vec<u64>,
}

/// What the parts of a core share.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) plane: Arc<Plane>,
    pub(crate) limits: Limits,
    pub(crate) deadlines: Deadlines,
    pub(crate) pool: Pool,
    pub(crate) dice: Dice,
    pub(crate) ids: RequestIds,
    pub(crate) server: http1::Builder,
    /// Turns of requests that were held and are let go.
    pub(crate) turns: Semaphore,
    routes: RefCell<Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>>,
    /// When tunnels and event streams are closed, once it stops.
    stops_at: Cell<Option<Instant>>,
}

impl Worker {
    fn new(index: usize, plane: &Arc<Plane>) -> Self {
        let limits = plane.limits.clone();
        let mut server = http1::Builder::new();
        // The guard in front is stricter; these are a second line.
        // Whether the client is gone meanwhile is looked after in `connection`, without a buffer.
        server.half_close(true);
        server.max_headers(limits.header_count_max + 1).max_buf_size(limits.head_bytes_max.max(8 << 10) + (8 << 10));
        Worker {
            index,
            plane: Arc::clone(plane),
            limits,
            deadlines: Deadlines::new(),
            pool: Pool::default(),
            dice: Dice::new(index, random()),
            ids: RequestIds::new(random(), random()),
            server,
            turns: Semaphore::new((LET_GO_AT_ONCE_MAX / plane.cores().max(1)).max(1)),
            routes: RefCell::new(Cache::new(Arc::clone(&plane.routes))),
            stops_at: Cell::new(None),
        }
    }

    /// Reads the present table.
    pub(crate) fn with_routes<T>(&self, read: impl FnOnce(&Routes) -> T) -> T {
        read(self.routes.borrow_mut().load())
    }

    /// The present group of an application and environment.
    pub(crate) fn present_group(&self, key: &AppKey) -> Option<Arc<Group>> {
        self.with_routes(|routes| routes.groups.get(key).map(Arc::clone))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stops_at.get().is_some()
    }

    /// How long a connection that has been idle for `since` may go on being it.
    pub(crate) fn idle_left(&self, since: Duration) -> Duration {
        let left = self.limits.keep_alive_timeout.saturating_sub(since);
        if self.is_stopping() { left.min(STOP_IDLE) } else { left }
    }

    /// Ends connections that have rested longest, so that others can be accepted: as nginx does where it has no more.
    fn make_room(&self) {
        let resting = RefCell::new(Vec::new());
        self.deadlines.for_each(|session| {
            if session.phase() == Phase::Idle && session.rested_for() >= RESTED_MIN {
                resting.borrow_mut().push(Rc::clone(session));
            }
        });
        let mut resting = resting.into_inner();
        resting.sort_by_key(|session| Reverse(session.rested_for()));
        resting.iter().take(ROOM).for_each(|session| session.expire());
    }

    fn table_changed(&self, changed: &Changed) {
        self.pool.close(&changed.closed);
        let stops_in = self.stops_at.get().map(|at| at.saturating_duration_since(Instant::now()));
        for placement in &changed.drained {
            let within = placement.drain_timeout();
            let within = stops_in.map_or(within, |left| left.min(within));
            self.deadlines.for_each(|session| {
                if session.is_tunnel_of(placement) {
                    session.set_deadline(within);
                }
            });
        }
        for placement in &changed.revived {
            self.deadlines.for_each(|session| match stops_in {
                _ if !session.is_tunnel_of(placement) => {}
                Some(left) => session.set_deadline(left),
                None => session.no_deadline(),
            });
        }
    }

    /// Begins to stop: when what would go on for ever is to end.
    fn stop(&self) -> Instant {
        let stop_timeout = self.limits.stop_timeout;
        let left = stop_timeout.saturating_sub(STOP_TUNNELS);
        let stops_at = Instant::now() + left;
        self.stops_at.set(Some(stops_at));
        self.deadlines.for_each(|session| match session.phase() {
            Phase::Idle => session.set_deadline(STOP_IDLE.min(stop_timeout)),
            Phase::Tunnel => session.set_deadline(left),
            _ => {}
        });
        stops_at
    }
}

/// What the standard library seeds its hash maps with is as random as is needed here.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Runs a core until it is told to stop and has.
pub(crate) fn run(index: usize, plane: &Arc<Plane>, orders: mpsc::UnboundedReceiver<Order>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker::new(index, plane));
    runtime.block_on(obey(worker, orders));
    Ok(())
}

async fn obey(worker: Rc<Worker>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let clock = Rc::clone(&worker);
    spawn_local(async move { clock.deadlines.watch().await });
    let cleaner = Rc::clone(&worker);
    spawn_local(async move {
        loop {
            tokio::time::sleep(POOL_CLEANING).await;
            cleaner.pool.clean(&cleaner);
        }
    });
    let mut listening: Vec<AbortHandle> = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen(listener) => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listening.push(spawn_local(accept(Rc::clone(&worker), listener)).abort_handle()),
                Err(error) => tracing::error!(%error, "listening socket cannot be used"),
            },
            Order::Table(changed, done) => change_table(&worker, &changed, done).await,
            Order::Stop => break,
        }
    }
    listening.iter().for_each(AbortHandle::abort);
    let mut streams_end_at = Some(worker.stop());
    let stops_at = Instant::now() + worker.limits.stop_timeout;
    // What it has still goes by the newest table.
    while worker.deadlines.count() > 0 && Instant::now() < stops_at {
        if streams_end_at.take_if(|at| Instant::now() >= *at).is_some() {
            worker.deadlines.for_each(|session| session.end_event_stream());
        }
        if let Ok(Some(Order::Table(changed, done))) = tokio::time::timeout(ACCEPT_PAUSE, orders.recv()).await {
            change_table(&worker, &changed, done).await;
        }
    }
}

async fn change_table(worker: &Worker, changed: &Changed, done: oneshot::Sender<()>) {
    worker.with_routes(|_| ());
    worker.table_changed(changed);
    // Requests that were routed before this have been handed to their connections, whose turn comes before ours now.
    // Twice, as one may wake the next.
    yield_now().await;
    yield_now().await;
    // Nobody may wait for it any more.
    let _ = done.send(());
}

async fn accept(worker: Rc<Worker>, listener: tokio::net::TcpListener) {
    let mut cannot = false;
    loop {
        if !worker.plane.may_accept() {
            worker.make_room();
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                cannot = false;
                spawn_local(connection::serve(&worker, stream, peer));
                // Another core may be less busy: let it have the next one.
                yield_now().await;
            }
            // The client gave up in the queue.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                // Told once, however long it lasts.
                if !std::mem::replace(&mut cannot, true) {
                    tracing::warn!(%error, "cannot accept connections; retrying");
                }
                worker.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

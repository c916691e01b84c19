//! The data plane as a whole: the present table, the cores that route by it, and what is known of placements.

use crate::control::{Acknowledgement, InstanceTraffic, OwnAnswers, ProxyStatus, Refusal};
use crate::limits::Limits;
use crate::placement::Placement;
use crate::predecessor::Predecessors;
use crate::router::{GroupChanges, OwnCounts, Routes};
use crate::traffic;
use crate::worker::{Changed, Order};
use arc_swap::ArcSwap;
use gapless_core::routes::{RouteChange, RouteTable};
use gapless_core::{AppKey, PlacementId, Slot, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a placement that left the table is remembered when it has nothing in flight.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// How many placements that left the table are remembered.
const REMEMBERED_MAX: usize = 1000;

/// Failures to connect within this time are one piece of news.
const NEWS_PAUSE_MS: u64 = 100;

/// How far the tables are on disk, and what the last attempt to put one there said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Persisted {
    /// The version that is there.
    pub(crate) version: u64,
    /// Which change is there, counted: two tables may have the same version, where an application's change was told of
    /// later than another's that was committed after it.
    pub(crate) change: u64,
    /// The newest change that was tried.
    pub(crate) tried: u64,
    pub(crate) error: Option<String>,
}

/// What all threads share.
pub(crate) struct Plane {
    pub(crate) limits: Limits,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) unrouted: OwnCounts,
    /// When requests were last begun to be routed by another table, in microseconds since the start.
    routed_us: AtomicU64,
    /// Told when requests are routed by another table.
    pub(crate) routed: watch::Sender<()>,
    /// Told when there is another table that every core goes by.
    pub(crate) changed: watch::Sender<()>,
    pub(crate) persisted: watch::Sender<Persisted>,
    pub(crate) sequence: watch::Sender<u64>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Whether another data plane has taken its place.
    pub(crate) has_yielded: AtomicBool,
    /// Those whose place it has taken.
    pub(crate) predecessors: Predecessors,
    started: Instant,
    started_at: Timestamp,
    cores: Vec<mpsc::UnboundedSender<Order>>,
    connections: AtomicUsize,
    applied: AtomicU64,
    /// How often the table has changed.
    changes: AtomicU64,
    connect_failed_ms: AtomicU64,
    state: Mutex<State>,
}

/// What changes under a lock, which is never held while waiting.
#[derive(Default)]
struct State {
    placements: BTreeMap<PlacementId, Known>,
    listening: Vec<TcpListener>,
}

struct Known {
    placement: Arc<Placement>,
    /// When it left the table.
    left: Option<Instant>,
}

impl Plane {
    /// A data plane without table and sockets, and what its cores receive their orders from.
    pub(crate) fn new(limits: Limits, cores: usize) -> (Arc<Self>, Vec<mpsc::UnboundedReceiver<Order>>) {
        let (senders, receivers) = (0..cores).map(|_| mpsc::unbounded_channel()).unzip();
        let plane = Plane {
            limits,
            routes: Arc::default(),
            unrouted: OwnCounts::default(),
            routed_us: AtomicU64::new(0),
            routed: watch::Sender::default(),
            changed: watch::Sender::default(),
            persisted: watch::Sender::default(),
            sequence: watch::Sender::new(1),
            stopping: watch::Sender::new(false),
            has_yielded: AtomicBool::new(false),
            predecessors: Predecessors::default(),
            started: Instant::now(),
            started_at: now(),
            cores: senders,
            connections: AtomicUsize::new(0),
            applied: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            connect_failed_ms: AtomicU64::new(0),
            state: Mutex::default(),
        };
        (Arc::new(plane), receivers)
    }

    /// How many cores it has.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    // --- Tables ---

    /// Puts a whole table into force. Refused where it is older than the present one.
    pub(crate) async fn put(&self, table: &RouteTable) -> Result<Acknowledgement, Refusal> {
        let (change, acknowledged) = {
            let mut state = self.state();
            let present = self.routes.load_full();
            if table.version < present.version {
                let error = format!("version {} is older than the current table", table.version);
                return Err(Refusal { error, version: present.version });
            }
            self.change(&mut state, &present, table.version, &present.changes_to(table))
        };
        Ok(self.acknowledge(table.version, change, acknowledged).await)
    }

    /// Puts a change into force. Refused where it does not begin at the present table.
    pub(crate) async fn patch(&self, change: &RouteChange) -> Result<Acknowledgement, Refusal> {
        let (number, acknowledged) = {
            let mut state = self.state();
            let present = self.routes.load_full();
            // The same change again, because its acknowledgement was lost on the way.
            let is_repeated = change.version == present.version && change.base < present.version;
            if !is_repeated && (change.base != present.version || change.version < present.version) {
                let error = format!("the change is based on version {}, which is not the current one", change.base);
                return Err(Refusal { error, version: present.version });
            }
            self.change(&mut state, &present, change.version, &change.groups)
        };
        Ok(self.acknowledge(change.version, number, acknowledged).await)
    }

    /// The cutover: from the one store in the middle on, requests are routed by the new table.
    fn change(
        &self,
        state: &mut State,
        present: &Routes,
        version: u64,
        changes: &GroupChanges,
    ) -> (u64, Vec<oneshot::Receiver<()>>) {
        let cores = self.cores.len();
        let routes = present.with(version, changes, &mut |id| {
            let make = || Known { placement: Placement::new(id.clone(), cores), left: None };
            Arc::clone(&state.placements.entry(id.clone()).or_insert_with(make).placement)
        });
        let routes = Arc::new(routes);
        let mut changed = Changed::default();
        let before = changes.keys().filter_map(|key| present.groups.get(key)).flat_map(|group| group.all_slots());
        let after = changes.keys().filter_map(|key| routes.groups.get(key)).flat_map(|group| group.all_slots());
        for slot in after.clone() {
            slot.placement.set_drain_timeout(slot.drain_timeout);
            slot.placement.try_anew();
            if slot.weight > 0 && slot.placement.set_live(true) {
                changed.revived.push(Arc::clone(&slot.placement));
            }
        }
        self.routes.store(Arc::clone(&routes));
        let is_change = version != present.version || !changes.is_empty();
        // Counted after it is there: who reads the count reads this table, or a newer one.
        let number = self.changes.fetch_add(u64::from(is_change), Ordering::AcqRel) + u64::from(is_change);
        self.routed_us.store(self.micros(), Ordering::Release);
        self.routed.send_replace(());
        for slot in before.clone().chain(after.clone()) {
            let is_live = after.clone().any(|now| now.weight > 0 && Arc::ptr_eq(&now.placement, &slot.placement));
            if !is_live && slot.placement.set_live(false) {
                changed.drained.push(Arc::clone(&slot.placement));
            }
        }
        for instance in before.flat_map(|slot| &slot.instances) {
            let is_kept = after.clone().flat_map(|slot| &slot.instances).any(|now| now.serial == instance.serial);
            if !is_kept {
                instance.retire();
            }
            if !is_kept || !instance.placement.is_live() {
                changed.closed.push(instance.serial);
            }
        }
        state.note_departures(&routes, changes);
        if state.placements.len() > 2 * (REMEMBERED_MAX + routes.groups.len()) {
            state.forget();
        }
        let told = self.cores.iter().map(|core| {
            let (done, acknowledged) = oneshot::channel();
            // A core that is gone routes nothing.
            let _ = core.send(Order::Table(changed.clone(), done));
            acknowledged
        });
        (number, told.collect())
    }

    /// Which change the present table is of, or an older one.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    async fn acknowledge(&self, version: u64, change: u64, cores: Vec<oneshot::Receiver<()>>) -> Acknowledgement {
        for core in cores {
            let _ = core.await;
        }
        self.applied.fetch_max(version, Ordering::AcqRel);
        self.changed.send_replace(());
        let mut persisted = self.persisted.subscribe();
        let Ok(on_disk) = persisted.wait_for(|on_disk| on_disk.tried >= change).await else {
            return Acknowledgement {
                version,
                persisted: false,
                error: Some("the data plane is shutting down".to_owned()),
            };
        };
        Acknowledgement { version, persisted: on_disk.change >= change, error: on_disk.error.clone() }
    }

    /// How long requests have been routed by the present table, in microseconds.
    pub(crate) fn routed_for_us(&self) -> u64 {
        self.micros().saturating_sub(self.routed_us.load(Ordering::Acquire))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    // --- Connections and sockets ---

    pub(crate) fn may_accept(&self) -> bool {
        self.connections.load(Ordering::Relaxed) < self.limits.connections_max
    }

    pub(crate) fn connection_began(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Accepts connections on a socket, unless there is one at its address already.
    pub(crate) fn listen(&self, listener: TcpListener) -> io::Result<()> {
        let mut state = self.state();
        let address = listener.local_addr()?;
        let mut present = state.listening.iter().filter_map(|present| present.local_addr().ok());
        if *self.stopping.borrow() || present.any(|present| present == address) {
            return Ok(());
        }
        for core in &self.cores {
            let _ = core.send(Order::Listen(listener.try_clone()?));
        }
        state.listening.push(listener);
        Ok(())
    }

    /// Duplicates of the sockets that connections are accepted on.
    pub(crate) fn listeners(&self) -> io::Result<Vec<TcpListener>> {
        self.state().listening.iter().map(TcpListener::try_clone).collect()
    }

    /// Accepts no more, and ends when what there is has been finished.
    pub(crate) fn stop(&self) {
        self.state().listening.clear();
        self.stopping.send_replace(true);
        for core in &self.cores {
            let _ = core.send(Order::Stop);
        }
    }

    // --- News ---

    pub(crate) fn news(&self) {
        self.sequence.send_modify(|sequence| *sequence += 1);
    }

    pub(crate) fn connect_failed(&self) {
        let now_ms =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(NEWS_PAUSE_MS);
        let last_ms = self.connect_failed_ms.load(Ordering::Relaxed);
        let is_news = now_ms >= last_ms + NEWS_PAUSE_MS;
        if is_news
            && self.connect_failed_ms.compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.news();
        }
    }

    /// Whether that is this data plane's own status.
    pub(crate) fn is_that_of(&self, status: &ProxyStatus) -> bool {
        (status.pid, status.started_at) == (std::process::id(), self.started_at)
    }

    pub(crate) fn status(&self) -> ProxyStatus {
        let mut state = self.state();
        let routes = self.routes.load_full();
        state.forget();
        let mut placements: BTreeMap<_, _> =
            state.placements.iter().map(|(id, known)| (id.clone(), traffic::sum(known.placement.cores()))).collect();
        // Histograms are of use where two slots are compared, and too large to be told of all.
        let compared = routes.groups.values().filter(|group| group.slots.len() > 1);
        for placement in compared.flat_map(|group| &group.slots).map(|slot| &slot.placement) {
            if let Some(traffic) = placements.get_mut(&placement.id) {
                traffic.latencies = traffic::latencies(placement.cores());
            }
        }
        for slot in routes.groups.values().flat_map(|group| group.all_slots()) {
            if let Some(traffic) = placements.get_mut(&slot.placement.id) {
                traffic.given_up = slot.placement.given_up();
                (traffic.role, traffic.weight) = (Some(slot.role), slot.weight);
                let instances = slot.instances.iter().map(|instance| InstanceTraffic {
                    service: instance.service.clone(),
                    replica: instance.replica,
                    address: instance.address,
                    in_flight: u64::from(instance.in_flight()),
                    connect_failures: instance.connect_failures(),
                });
                traffic.instances = instances.collect();
            }
        }
        let persisted = self.persisted.borrow().version;
        ProxyStatus {
            pid: std::process::id(),
            started_at: self.started_at,
            binary_version: env!("CARGO_PKG_VERSION").to_owned(),
            table_version: routes.version,
            applied_version: self.applied.load(Ordering::Acquire),
            persisted_version: persisted,
            is_in_flight_unknown: false,
            connections: self.connections.load(Ordering::Relaxed) as u64,
            listen: state.listening.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            stopping: *self.stopping.borrow(),
            sequence: *self.sequence.borrow(),
            placements,
            groups: routes.groups.iter().map(|(key, group)| (AppKey::clone(key), own_answers(&group.own))).collect(),
            unrouted: own_answers(&self.unrouted),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can be left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_departures(&mut self, routes: &Routes, changes: &GroupChanges) {
        for key in changes.keys() {
            let group = routes.groups.get(key);
            let first = PlacementId { key: key.clone(), slot: Slot::ALL[0], deployment: 0 };
            for (id, known) in self.placements.range_mut(first..).take_while(|(id, _)| id.key == *key) {
                let is_present = group.is_some_and(|group| group.all_slots().any(|slot| slot.placement.id == *id));
                known.left = if is_present { None } else { known.left.or_else(|| Some(Instant::now())) };
            }
        }
    }

    /// Forgets placements that left the table long ago, or are too many, and have nothing in flight.
    fn forget(&mut self) {
        let mut left: Vec<Instant> = self.placements.values().filter_map(|known| known.left).collect();
        left.sort_unstable();
        let oldest_kept = left.len().checked_sub(REMEMBERED_MAX).and_then(|index| left.get(index).copied());
        self.placements.retain(|_, known| match known.left {
            Some(left) if left.elapsed() > REMEMBERED_FOR || oldest_kept.is_some_and(|oldest| left < oldest) => {
                known.placement.in_flight() > 0
            }
            _ => true,
        });
    }
}

fn own_answers(own: &OwnCounts) -> OwnAnswers {
    let (held, held_longest_us, held_release_us, held_refused) = own.held.told();
    OwnAnswers {
        held_release_us,
        held,
        held_longest_us,
        held_refused,
        maintenance: own.maintenance.load(Ordering::Relaxed),
        refused: own.refused.load(Ordering::Relaxed),
        no_route: own.no_route.load(Ordering::Relaxed),
        bad_gateway: own.bad_gateway.load(Ordering::Relaxed),
        unavailable: own.unavailable.load(Ordering::Relaxed),
        timeout: own.timeout.load(Ordering::Relaxed),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

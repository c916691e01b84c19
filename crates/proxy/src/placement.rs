//! A placement and its instances as the data plane keeps them, from table to table: whether it takes requests, and
//! what is in flight.

use crate::traffic::CoreTraffic;
use gapless_core::routes::Backend;
use gapless_core::{PlacementId, ServiceName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

/// After so many requests in a row that a slot could not take, while another one takes them, it is given up.
const FAILED_IN_ROW_MAX: u32 = 10;

/// A placement that is or was in the table. One object for as long as anybody knows of it: counts go on when a
/// placement leaves the table and comes back.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) id: PlacementId,
    cores: Box<[CoreTraffic]>,
    live: AtomicBool,
    /// Requests in a row that it could not take.
    failed_in_row: AtomicU32,
    drain_timeout_ms: AtomicU64,
}

impl Placement {
    pub(crate) fn new(id: PlacementId, cores: usize) -> Arc<Self> {
        Arc::new(Placement {
            id,
            cores: (0..cores).map(|_| CoreTraffic::default()).collect(),
            live: AtomicBool::new(false),
            failed_in_row: AtomicU32::new(0),
            drain_timeout_ms: AtomicU64::new(0),
        })
    }

    /// The counts of one core; only that core's thread may write to them.
    pub(crate) fn core(&self, index: usize) -> &CoreTraffic {
        &self.cores[index]
    }

    pub(crate) fn cores(&self) -> &[CoreTraffic] {
        &self.cores
    }

    /// Whether it gets new requests.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Returns whether that is a change.
    pub(crate) fn set_live(&self, live: bool) -> bool {
        self.live.swap(live, Ordering::SeqCst) != live
    }

    /// It could not take a request. Whether that was the one too many.
    pub(crate) fn failed(&self) -> bool {
        self.failed_in_row.fetch_add(1, Ordering::Relaxed) + 1 == FAILED_IN_ROW_MAX
    }

    /// It took a request.
    pub(crate) fn took(&self) {
        // Read by every core, written to after a failure only.
        let count = self.failed_in_row.load(Ordering::Relaxed);
        if count > 0 && count < FAILED_IN_ROW_MAX {
            self.failed_in_row.store(0, Ordering::Relaxed);
        }
    }

    /// How many requests in a row it could not take, if they are so many that no more are sent there while another slot
    /// takes them.
    pub(crate) fn given_up(&self) -> Option<u32> {
        Some(self.failed_in_row.load(Ordering::Relaxed)).filter(|count| *count >= FAILED_IN_ROW_MAX)
    }

    /// The table has changed: it is tried anew.
    pub(crate) fn try_anew(&self) {
        self.failed_in_row.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_drain_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.drain_timeout_ms.store(ms, Ordering::Release);
    }

    /// How long upgraded connections may go on when it is no longer live.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms.load(Ordering::Acquire))
    }

    pub(crate) fn in_flight(&self) -> u64 {
        // Two cores that end the last two requests at once must not each see the other's still there.
        fence(Ordering::SeqCst);
        self.cores.iter().map(|core| core.in_flight.get()).sum()
    }
}

/// One core's load on an instance, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CoreLoad {
    in_flight: AtomicU32,
    connect_failures: AtomicU32,
}

/// An instance as one core holds it. Each core counts references to one of its own: a count that all cores change is
/// the dearest thing on the way of a request.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct CoreInstance(Arc<Instance>);

impl std::ops::Deref for CoreInstance {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}

/// An instance in the table, with what each core holds it by.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    instance: Arc<Instance>,
    cores: Arc<[Arc<CoreInstance>]>,
}

impl Listed {
    pub(crate) fn new(backend: &Backend, placement: Arc<Placement>) -> Self {
        let instance = Instance::new(backend, placement);
        let cores = instance.load.iter().map(|_| Arc::new(CoreInstance(Arc::clone(&instance)))).collect();
        Listed { instance, cores }
    }

    pub(crate) fn on(&self, core: usize) -> &Arc<CoreInstance> {
        &self.cores[core]
    }
}

impl std::ops::Deref for Listed {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

/// One instance in the table.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Unique in the process: the pool's key. An instance at an address that another one had is another instance.
    pub(crate) serial: u64,
    pub(crate) service: ServiceName,
    pub(crate) replica: u16,
    pub(crate) address: SocketAddr,
    pub(crate) placement: Arc<Placement>,
    in_table: AtomicBool,
    load: Box<[CoreLoad]>,
}

impl Instance {
    fn new(backend: &Backend, placement: Arc<Placement>) -> Arc<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let load = placement.cores.iter().map(|_| CoreLoad::default()).collect();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (service, in_table) = (backend.service.clone(), AtomicBool::new(true));
        let (replica, address) = (backend.replica, backend.address);
        Arc::new(Instance { serial, service, replica, address, placement, in_table, load })
    }

    /// Whether connections to it may be kept for later requests.
    pub(crate) fn is_live(&self) -> bool {
        self.in_table.load(Ordering::Acquire) && self.placement.is_live()
    }

    /// It left the table; it never comes back, another one may take its place.
    pub(crate) fn retire(&self) {
        self.in_table.store(false, Ordering::Release);
    }

    pub(crate) fn begin(&self, core: usize) {
        let load = &self.load[core].in_flight;
        load.store(load.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn end(&self, core: usize) {
        let load = &self.load[core].in_flight;
        load.store(load.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn connect_failed(&self, core: usize) {
        let failures = &self.load[core].connect_failures;
        failures.store(failures.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.load.iter().map(|load| load.in_flight.load(Ordering::Relaxed)).fold(0, u32::wrapping_add)
    }

    pub(crate) fn connect_failures(&self) -> u64 {
        self.load.iter().map(|load| u64::from(load.connect_failures.load(Ordering::Relaxed))).sum()
    }
}

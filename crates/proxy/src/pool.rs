//! The idle connections of one core, by instance. An instance of another placement is another instance, whatever its
//! address, so no request can get onto a connection of an earlier placement.

use crate::deadlines::ticks;
use crate::placement::{CoreInstance, Instance};
use crate::upstream::Upstream;
use crate::worker::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A request that must not be sent twice does not go onto a connection that has rested for longer: the instance may be
/// closing it at this moment.
const SURE_FOR: Duration = Duration::from_millis(500);

/// Idle connections, as many as there are descriptors for.
#[derive(Default)]
pub(crate) struct Pool(RefCell<Idle>);

#[derive(Default)]
struct Idle {
    /// By the serial of their instance, the latest used last.
    of: HashMap<u64, Vec<Upstream>, BuildHasherDefault<SerialHasher>>,
    /// How many there are.
    count: usize,
}

impl Pool {
    /// A connection to the instance that seems good. `sure`: only one that was used a moment ago.
    pub(crate) fn take(&self, worker: &Worker, instance: &Instance, sure: bool) -> Option<Upstream> {
        let Idle { of, count } = &mut *self.0.borrow_mut();
        let idle = of.get_mut(&instance.serial)?;
        let age_max = ticks(if sure { SURE_FOR } else { worker.limits.pool_idle_timeout });
        while let Some(upstream) = idle.pop() {
            *count -= 1;
            if worker.deadlines.now().wrapping_sub(upstream.idle_since) > age_max {
                // All the others have rested for longer.
                if !sure {
                    *count -= idle.len();
                    idle.clear();
                }
                return None;
            }
            if upstream.sender.is_ready() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended, where it is good for another one.
    pub(crate) fn give_back(&self, worker: &Rc<Worker>, instance: &Arc<CoreInstance>, mut upstream: Upstream) {
        upstream.wire.disarm();
        if upstream.sender.is_closed() || !instance.is_live() {
            return;
        }
        if upstream.sender.is_ready() {
            self.put(worker, instance, upstream);
            return;
        }
        // The end of the answer came, its connection has not noticed yet.
        let (worker, instance) = (Rc::clone(worker), Arc::clone(instance));
        tokio::task::spawn_local(async move {
            if upstream.sender.ready().await.is_ok() && instance.is_live() {
                worker.pool.put(&worker, &instance, upstream);
            }
        });
    }

    fn put(&self, worker: &Worker, instance: &Instance, mut upstream: Upstream) {
        upstream.idle_since = worker.deadlines.now();
        let Idle { of, count } = &mut *self.0.borrow_mut();
        let idle = of.entry(instance.serial).or_default();
        if idle.len() < worker.limits.pool_idle_max && *count < worker.limits.pool_max {
            idle.push(upstream);
            *count += 1;
        }
    }

    /// Closes the connections to instances that get no more requests.
    pub(crate) fn close(&self, serials: &[u64]) {
        let Idle { of, count } = &mut *self.0.borrow_mut();
        for serial in serials {
            *count -= of.remove(serial).map_or(0, |idle| idle.len());
        }
    }

    /// Closes the connections that have rested for too long, or were closed by the other side.
    pub(crate) fn clean(&self, worker: &Worker) {
        // With no client it stands still.
        worker.deadlines.look_at_clock();
        let (now, age_max) = (worker.deadlines.now(), ticks(worker.limits.pool_idle_timeout));
        let Idle { of, count } = &mut *self.0.borrow_mut();
        of.retain(|_, idle| {
            idle.retain(|upstream| now.wrapping_sub(upstream.idle_since) <= age_max && !upstream.sender.is_closed());
            !idle.is_empty()
        });
        *count = of.values().map(Vec::len).sum();
    }
}

/// Serials are counted up by ourselves: nothing needs to be hidden or spread but the low bits.
#[derive(Default)]
struct SerialHasher(u64);

impl Hasher for SerialHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, serial: u64) {
        self.0 = (self.0.rotate_left(5) ^ serial).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

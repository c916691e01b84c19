//! Wakers: how the rest of the server makes a controller take another turn.

use gapless_core::AppKey;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Wakes one controller.
#[derive(Default)]
pub struct Waker {
    notify: Notify,
    is_woken: AtomicBool,
    instances_changed: AtomicBool,
}

impl Waker {
    /// Wakes the controller because the record or a data plane changed.
    pub fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Wakes the controller because an instance changed: the controller lists the instances again.
    pub fn wake_for_instances(&self) {
        self.instances_changed.store(true, Ordering::Release);
        self.wake();
    }

    /// Starts a turn of the controller: later wakes count for the next turn. True when instances changed since the last
    /// turn.
    pub(super) fn start_turn(&self) -> bool {
        self.is_woken.store(false, Ordering::Release);
        self.instances_changed.swap(false, Ordering::AcqRel)
    }

    /// Waits for the next wake.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// True when the waker was called since the last turn started.
    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire)
    }
}

/// The wakers of all controllers. Created before the controllers, so that the syncers of data planes can own a copy.
#[derive(Clone, Default)]
pub struct Wakers(Arc<Mutex<BTreeMap<AppKey, Arc<Waker>>>>);

impl Wakers {
    /// Wakes the controller of an application, or every controller where no key is given.
    pub fn wake(&self, key: Option<&AppKey>) {
        let wakers = self.lock();
        match key {
            Some(key) => wakers.get(key).iter().for_each(|waker| waker.wake()),
            None => wakers.values().for_each(|waker| waker.wake()),
        }
    }

    pub(super) fn wake_for_instances(&self, key: &AppKey) {
        if let Some(waker) = self.lock().get(key) {
            waker.wake_for_instances();
        }
    }

    pub(super) fn wake_all_for_instances(&self) {
        self.lock().values().for_each(|waker| waker.wake_for_instances());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<AppKey, Arc<Waker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

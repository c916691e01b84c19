//! All controllers: one for each application and environment, started with its first record and woken by each change.

use super::control;
use super::shared::Shared;
use super::waker::{Waker, Wakers};
use crate::records::{self, concerned};
use futures_util::StreamExt;
use gapless_core::AppKey;
use gapless_runtime::Runtime;
use gapless_store::{Store, StoreError, WatchEvent};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// The wait before a runtime's event stream is opened again after it ended.
const EVENTS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The wait before the watch of the records is opened again after it ended.
const RECORDS_RETRY_AFTER: Duration = Duration::from_millis(500);

/// All controllers of this server. Dropping it ends them; the next start resumes their work.
pub struct Controllers {
    shared: Arc<Shared>,
    wakers: Wakers,
    tasks: Mutex<JoinSet<()>>,
}

impl Controllers {
    /// No controller yet. `wakers` must be shared with [`crate::planes::Planes`].
    #[must_use]
    pub fn new(shared: Arc<Shared>, wakers: Wakers) -> Self {
        Controllers { shared, wakers, tasks: Mutex::default() }
    }

    /// Wakes the controller of the application, and starts it if it does not run.
    pub fn wake(&self, key: &AppKey) {
        let waker = {
            let mut wakers = self.wakers.lock();
            if let Some(waker) = wakers.get(key) {
                return waker.wake();
            }
            let waker = Arc::new(Waker::default());
            wakers.insert(key.clone(), waker.clone());
            waker
        };
        let (key, shared, wakers) = (key.clone(), self.shared.clone(), self.wakers.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            loop {
                control(key.clone(), shared.clone(), waker.clone()).await;
                // An application of the same name may have been recorded just as the previous one was removed.
                let mut wakers = wakers.lock();
                if !waker.is_woken() {
                    wakers.remove(&key);
                    return;
                }
            }
        });
    }

    /// Ends all controllers. The next leader resumes their work.
    pub fn end(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Watches the records and wakes the controller that a change concerns, without end. The author of a change wakes
    /// the controller too, but may be gone before the commit: a client that disconnected, or a commit that etcd
    /// executes only after it has a leader again.
    pub async fn follow_records(&self, store: Arc<dyn Store>) {
        loop {
            match self.follow_records_once(store.as_ref()).await {
                Ok(()) => {}
                Err(error) => tracing::debug!("watch of the records ended: {error}; retrying"),
            }
            tokio::time::sleep(RECORDS_RETRY_AFTER).await;
        }
    }

    async fn follow_records_once(&self, store: &dyn Store) -> Result<(), StoreError> {
        let range = store.range(records::APPLICATIONS).await?;
        let mut changes = store.watch(records::ALL, range.revision + 1).await?;
        // Changes from before the watch are found by reading the records.
        range.entries.iter().filter_map(|entry| concerned(&entry.key)).for_each(|key| self.wake(&key));
        while let Some(batch) = changes.next().await {
            let changed = batch?.events;
            let put = changed.iter().filter(|event| matches!(event, WatchEvent::Put(_)));
            let keys: BTreeSet<_> = put.filter_map(|event| concerned(event.key())).collect();
            keys.iter().for_each(|key| self.wake(key));
        }
        Ok(())
    }

    /// Follows the events of a runtime and wakes the controllers that they concern, without end.
    pub async fn follow_events(&self, name: &str, runtime: Arc<dyn Runtime>) {
        loop {
            match runtime.events().await {
                Ok(mut events) => {
                    // Changes from before the stream are found by listing.
                    self.wakers.wake_all_for_instances();
                    while let Some(event) = events.next().await {
                        tracing::debug!(instance = %event.name, what = event.what, "instance changed");
                        self.wakers.wake_for_instances(&event.name.placement.key);
                    }
                    self.wakers.wake_all_for_instances();
                }
                Err(error) => tracing::debug!(runtime = name, "no events of the runtime: {error}; retrying"),
            }
            tokio::time::sleep(EVENTS_RETRY_AFTER).await;
        }
    }
}

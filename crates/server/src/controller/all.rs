//! All controllers: one an application and environment, begun when its first record is, woken by whoever has news.

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

/// How soon a runtime's events are asked for again after they ended.
const EVENTS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How soon the records are followed again after that ended.
const RECORDS_RETRY_AFTER: Duration = Duration::from_millis(500);

/// All controllers of this server. Dropping it ends them; what they were doing goes on at the next start.
pub struct Controllers {
    shared: Arc<Shared>,
    wakers: Wakers,
    tasks: Mutex<JoinSet<()>>,
}

impl Controllers {
    /// No controller yet. `wakers` are those that [`crate::planes::Planes`] was given.
    #[must_use]
    pub fn new(shared: Arc<Shared>, wakers: Wakers) -> Self {
        Controllers { shared, wakers, tasks: Mutex::default() }
    }

    /// Sees to it that the application has a controller, and wakes it.
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
                // An application of the same name may have been recorded just as the last one went.
                let mut wakers = wakers.lock();
                if !waker.is_woken() {
                    wakers.remove(&key);
                    return;
                }
            }
        });
    }

    /// Ends all of them. What they were doing is gone on with by whoever leads next.
    pub fn end(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Follows the records and wakes whom a change concerns, for ever. Who makes a change wakes, too, but may be gone
    /// before it is done: a client that went away, or a commit that etcd carries out only once it has a leader again.
    pub async fn follow_records(&self, store: Arc<dyn Store>) {
        loop {
            match self.follow_records_once(store.as_ref()).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "changes of the records are not told"),
            }
            tokio::time::sleep(RECORDS_RETRY_AFTER).await;
        }
    }

    async fn follow_records_once(&self, store: &dyn Store) -> Result<(), StoreError> {
        let range = store.range(records::APPLICATIONS).await?;
        let mut changes = store.watch(records::ALL, range.revision + 1).await?;
        // What changed before is seen by looking.
        range.entries.iter().filter_map(|entry| concerned(&entry.key)).for_each(|key| self.wake(&key));
        while let Some(batch) = changes.next().await {
            let changed = batch?.events;
            let put = changed.iter().filter(|event| matches!(event, WatchEvent::Put(_)));
            let keys: BTreeSet<_> = put.filter_map(|event| concerned(event.key())).collect();
            keys.iter().for_each(|key| self.wake(key));
        }
        Ok(())
    }

    /// Follows the events of a runtime and wakes whom they concern, for ever.
    pub async fn follow_events(&self, name: &str, runtime: Arc<dyn Runtime>) {
        loop {
            match runtime.events().await {
                Ok(mut events) => {
                    // What happened before the stream began is seen by listing.
                    self.wakers.wake_all_for_instances();
                    while let Some(event) = events.next().await {
                        tracing::debug!(instance = %event.name, what = event.what, "instance");
                        self.wakers.wake_for_instances(&event.name.placement.key);
                    }
                    self.wakers.wake_all_for_instances();
                }
                Err(error) => tracing::debug!(runtime = name, %error, "no events"),
            }
            tokio::time::sleep(EVENTS_RETRY_AFTER).await;
        }
    }
}

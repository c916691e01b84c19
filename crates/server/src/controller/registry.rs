//! All controllers: one an application and environment, begun when its first record is, woken by whoever has news.

use super::{Bell, Shared, control};
use crate::records::{self, concerned};
use futures_util::StreamExt;
use gapless_core::AppKey;
use gapless_runtime::Runtime;
use gapless_store::{Store, StoreError, WatchEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// How soon a runtime's events are asked for again after they ended.
const EVENTS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How soon the records are followed again after that ended.
const RECORDS_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Rings for controllers; exists before they do.
#[derive(Clone, Default)]
pub struct Bells(Arc<Mutex<BTreeMap<AppKey, Arc<Bell>>>>);

impl Bells {
    /// The record or a data plane of that application has news; or any of them may have some.
    pub fn ring(&self, key: Option<&AppKey>) {
        let bells = self.lock();
        match key {
            Some(key) => bells.get(key).iter().for_each(|bell| bell.ring()),
            None => bells.values().for_each(|bell| bell.ring()),
        }
    }

    fn ring_for_instances(&self, key: &AppKey) {
        if let Some(bell) = self.lock().get(key) {
            bell.ring_for_instances();
        }
    }

    fn ring_all_for_instances(&self) {
        self.lock().values().for_each(|bell| bell.ring_for_instances());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AppKey, Arc<Bell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All controllers of this server. Dropping it ends them; what they were doing goes on at the next start.
pub struct Controllers {
    shared: Arc<Shared>,
    bells: Bells,
    tasks: Mutex<JoinSet<()>>,
}

impl Controllers {
    /// No controller yet. `bells` are those that [`crate::planes::Planes`] was given.
    #[must_use]
    pub fn new(shared: Arc<Shared>, bells: Bells) -> Self {
        Controllers { shared, bells, tasks: Mutex::default() }
    }

    /// Sees to it that the application has a controller, and wakes it.
    pub fn wake(&self, key: &AppKey) {
        let bell = {
            let mut bells = self.bells.lock();
            if let Some(bell) = bells.get(key) {
                return bell.ring();
            }
            let bell = Arc::new(Bell::default());
            bells.insert(key.clone(), bell.clone());
            bell
        };
        let (key, shared, bells) = (key.clone(), self.shared.clone(), self.bells.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            loop {
                control(key.clone(), shared.clone(), bell.clone()).await;
                // An application of the same name may have been recorded just as the last one went.
                let mut bells = bells.lock();
                if !bell.is_rung() {
                    bells.remove(&key);
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
                    self.bells.ring_all_for_instances();
                    while let Some(event) = events.next().await {
                        tracing::debug!(instance = %event.name, what = event.what, "instance");
                        self.bells.ring_for_instances(&event.name.placement.key);
                    }
                    self.bells.ring_all_for_instances();
                }
                Err(error) => tracing::debug!(runtime = name, %error, "no events"),
            }
            tokio::time::sleep(EVENTS_RETRY_AFTER).await;
        }
    }
}

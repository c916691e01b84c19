//! Notices the end of a process at once, through its pidfd.

use super::identity::Identity;
use crate::RuntimeEvent;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gapless_core::InstanceName;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events that a subscriber may lag behind before it misses some.
const EVENTS_WAITING_MAX: usize = 1024;
/// The delay before a process that cannot be waited for is inspected again.
const UNWATCHED_FOR: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Watch {
    events: broadcast::Sender<RuntimeEvent>,
    watched: Arc<Mutex<BTreeSet<String>>>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { events: broadcast::channel(EVENTS_WAITING_MAX).0, watched: Arc::default() }
    }
}

impl Watch {
    pub(super) fn happened(&self, name: &InstanceName, what: &str) {
        // An error means that there is no subscriber.
        let _ = self.events.send(RuntimeEvent { name: name.clone(), what: what.to_owned() });
    }

    pub(super) fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        BroadcastStream::new(self.events.subscribe()).filter_map(async |event| event.ok()).boxed()
    }

    /// Sends an event at the end of that process, once.
    pub(super) fn until_end(&self, name: &InstanceName, process: Identity) {
        let id = process.to_string();
        if !self.lock().insert(id.clone()) {
            return;
        }
        let (watch, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let awaited = match process.pidfd() {
                Ok(Some(pidfd)) => crate::ended(pidfd).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if awaited.is_err() {
                // The event is then early, and its receiver sees that the process still runs; the delay limits the
                // rate.
                tokio::time::sleep(UNWATCHED_FOR).await;
            }
            watch.lock().remove(&id);
            watch.happened(&name, "die");
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Notices the ends of processes at once, through descriptors of them.

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

/// Events that a follower may be behind before it misses some.
const EVENTS_WAITING_MAX: usize = 1024;
/// How soon a process that cannot be waited for is looked at again.
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
        // Nobody has to listen.
        let _ = self.events.send(RuntimeEvent { name: name.clone(), what: what.to_owned() });
    }

    pub(super) fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        BroadcastStream::new(self.events.subscribe()).filter_map(async |event| event.ok()).boxed()
    }

    /// Tells of the end of that process, once.
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
                // The hint comes early then, and whoever looks sees that it still runs: but not without end at once.
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

//! A server that stands still for a while, as one does whose process is stopped or whose host sleeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Until when a server stands still. Whatever it wants of the world it wants only after that.
#[derive(Clone)]
pub(crate) struct Pause(Arc<Mutex<Instant>>);

impl Pause {
    pub(crate) fn new() -> Self {
        Pause(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn stand_still(&self, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// Goes on once the server does.
    pub(crate) async fn pass(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

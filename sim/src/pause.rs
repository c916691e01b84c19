//! A pause of a server, as of a stopped process or a sleeping host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The end of a server's pause. Every call of the server to its world waits for it.
#[derive(Clone)]
pub(crate) struct Pause(Arc<Mutex<Instant>>);

impl Pause {
    pub(crate) fn new() -> Self {
        Pause(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn pause_for(&self, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// Waits for the end of the pause.
    pub(crate) async fn wait(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

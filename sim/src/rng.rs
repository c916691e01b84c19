//! The random number generator of a simulation: its only source of chance.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A random number generator with the same sequence for the same seed. Clones share the sequence.
#[derive(Clone)]
pub(crate) struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A number from 0 up to `bound`, exclusive.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64() % bound.max(1)
    }

    /// True with a chance of 1 in `times`.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Waits for a random time below `ms` milliseconds.
    pub(crate) async fn wait_up_to(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(ms))).await;
    }
}

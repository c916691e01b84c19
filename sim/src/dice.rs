//! The one source of chance of a simulation.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Throws dice, the same ones for the same seed.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A number from 0 to below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64() % bound.max(1)
    }

    /// True once in so many times.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Some time passes.
    pub(crate) async fn wait_up_to(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(ms))).await;
    }
}

//! The simulator: the real controllers, state machine and route derivation with fakes of every driver, in simulated
//! time. Every choice comes from one seed, which can be replayed.
//!
//! ```sh
//! ./scripts/sim --seed 17          # the timeline of one seed
//! ./scripts/sim --seeds 100000     # many seeds, a line for each that fails
//! ./scripts/sim --planted          # the number of seeds that find each deliberately planted bug
//! cargo run --release -p gapless-sim -- --judge 10000  # the error rates of the judge of releases
//! ```

/// The default allocator takes more than a tenth of a simulation's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod host;
mod judge;
mod lease;
mod pause;
mod people;
mod plane;
#[cfg(feature = "planted-bugs")]
mod planted;
mod records;
mod rng;
mod run;
mod runtime;
mod store;
mod timeline;
mod verdict;
mod world;

pub use judge::{Rollout, Verdicts, judge, kinds};
#[cfg(feature = "planted-bugs")]
pub use planted::{Found, find};
pub use run::{Outcome, Summary, run, run_many, run_until};

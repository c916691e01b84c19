//! The simulator: the real controller, state machine and route derivation against fakes of every driver, under
//! simulated time, every choice from one seed that replays.
//!
//! ```sh
//! ./scripts/sim --seed 17          # the story of one seed
//! ./scripts/sim --seeds 100000     # many, one line each that fails
//! ./scripts/sim --planted          # in how many seeds deliberately planted bugs are found
//! cargo run --release -p gapless-sim -- --judge 10000  # how often the judge of releases is wrong
//! ```

/// More than a tenth of a simulation's time would go into the usual allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod dice;
mod host;
mod judge;
mod lease;
mod pause;
mod people;
mod plane;
#[cfg(feature = "planted-bugs")]
mod planted;
mod records;
mod run;
mod runtime;
mod store;
mod story;
mod verdict;
mod world;

pub use judge::{Rollout, Verdicts, judge, kinds};
#[cfg(feature = "planted-bugs")]
pub use planted::{Found, find};
pub use run::{Outcome, Summary, run, run_many, run_until};

//! The simulator: the real controller, state machine and route derivation against fakes of every driver, under
//! simulated time, every choice from one seed that replays.
//!
//! ```sh
//! cargo run -p gapless-sim -- --seed 17          # the story of one seed
//! cargo run -p gapless-sim -- --seeds 0..100000  # many, one line each that fails
//! cargo run --release -p gapless-sim -- --judge 10000  # how often the judge of releases is wrong
//! ```

mod dice;
mod judge;
mod people;
mod plane;
mod run;
mod runtime;
mod store;
mod world;

pub use judge::{Rollout, Verdicts, judge, kinds};
pub use run::{Outcome, Summary, run, run_many};

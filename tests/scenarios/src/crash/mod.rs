//! Crashes at chosen places and at random moments, judged from outside: one release is live, no request is lost,
//! nothing is left over, and the next deployment succeeds.

mod command;
mod faults;
pub mod kills;
pub mod matrix;
pub mod systemd;

pub use command::{KillsOptions, MatrixOptions, kills_scenario, matrix_scenario};

//! Crashes at places of one's choice, and at random: what is promised whatever is killed, whenever, looked at from outside.

pub mod booted;
mod faults;
pub mod kills;
pub mod matrix;
mod site;
pub(crate) mod world;

pub use site::{Excusing, Site};

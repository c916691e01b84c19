//! The scenarios: each shows one promise of gapless on the real components, with its figures and its violations. There
//! is a folder for each campaign, and a subcommand of `gapless-scenario` for each scenario.

pub mod cluster;
pub mod crash;
pub mod power;
pub mod recipe;
pub mod releases;
pub mod render;
pub mod scale;
pub mod sick;

//! The Docker Engine: the host's by its command line, an Engine of a test's own, and the Engine API alone as a measure.

mod cli;
#[cfg(feature = "engine-api")]
mod floor;
mod own_engine;

pub use cli::{Said, containers, docker};
#[cfg(feature = "engine-api")]
pub use floor::engine_floor;
pub use own_engine::{FullDisk, OwnEngine};

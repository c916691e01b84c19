//! The Docker Engine: the host's by its command line, a test's own Engine, and the Engine API alone as a lower bound.

mod cli;
#[cfg(feature = "engine-api")]
mod floor;
mod own_engine;

pub use cli::{DockerResult, containers, docker};
#[cfg(feature = "engine-api")]
pub use floor::engine_floor;
pub use own_engine::{FullDisk, OwnEngine};

//! Drivers of data planes: gapless's own proxy and nginx, both behind [`DataPlane`].
//!
//! **Architecture Invariant:** a driver knows route tables and its own program. It knows no phases, no store and no
//! records.

pub mod builtin;
pub mod conformance;
pub mod nginx;
mod plane;

pub use plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus, Rejection, Retained};

//! The words of gapless, its deployment state machine, its route derivation and its names.
//!
//! **Architecture Invariant:** this crate is pure. It does no I/O, reads no clock and draws no random number; it knows
//! no tokio, no disk, no network and no Docker. Everything it decides, it decides from its arguments.

mod image;
pub mod names;
pub mod placement;
pub mod routes;
pub mod slot;
pub mod spec;
pub mod time;
pub mod validate;

pub use names::{AppKey, AppName, EnvName, HostPattern, NameError, PathPrefix};
pub use placement::{InstanceName, PlacementId};
pub use routes::{Backend, RouteGroup, RouteTable, SlotRole, SlotRoute};
pub use slot::Slot;
pub use spec::Spec;
pub use time::{Millis, Timestamp};
pub use validate::SpecError;

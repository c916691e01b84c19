//! The domain model of gapless: its records and rules, the deployment state machine, route derivation and names. Start
//! with [`deployment`] and [`facts`], then [`machine`], which decides every step from them.
//!
//! **Architecture Invariant:** this crate is pure. It does no I/O, reads no clock and draws no random number; it knows
//! no tokio, no disk, no network and no Docker. Every decision depends on the arguments alone.

pub mod action;
pub mod application;
pub mod command;
pub mod deployment;
pub mod facts;
pub mod gate;
pub mod hook;
mod image;
pub mod judge;
pub mod machine;
pub mod names;
pub mod placement;
pub mod plan;
pub mod planted;
pub mod release;
pub mod routes;
pub mod slot;
pub mod spec;
pub mod strategy;
pub mod time;
pub mod validate;

pub use action::{Action, Pace};
pub use application::{Application, Placement};
pub use deployment::{Deployment, Phase};
pub use facts::Facts;
pub use names::{AppKey, AppName, EnvName, HostPattern, NameError, PathPrefix, ServiceName};
pub use placement::{InstanceName, PlacementId};
pub use release::{Artifacts, Release};
pub use routes::{Backend, RouteGroup, RouteTable, SlotRole, SlotRoute};
pub use slot::Slot;
pub use spec::Spec;
pub use time::{Millis, Timestamp};
pub use validate::SpecError;

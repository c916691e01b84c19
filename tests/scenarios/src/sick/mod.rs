//! A Docker Engine that is sick: one of a test's own, behind a socket that can be made to misbehave, in a network namespace
//! where killing it, filling its disk and flushing its firewall harms nobody else.

mod calls;
pub mod cases;
pub mod deaths;
mod engine;
mod fault;
mod pair;
mod registry;
mod socket;

pub use calls::Call;
pub use engine::OwnEngine;
pub use fault::{Fault, Rule};
pub use registry::Registry;
pub use socket::FaultySocket;

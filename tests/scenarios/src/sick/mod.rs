//! A sick Docker Engine: a test's own Engine, behind a socket that can be made to misbehave, in a network namespace
//! where killing it, filling its disk and emptying its firewall harms nothing else.

mod calls;
pub mod cases;
mod command;
pub mod deaths;
mod fault;
mod pair;
mod socket;

pub use calls::Call;
pub use command::{Options, scenario};
pub use fault::{Fault, Rule};
pub use socket::FaultySocket;

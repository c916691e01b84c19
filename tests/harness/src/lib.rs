//! The test harness: a gapless server of a test's own on the real components, the command line as a user types it, the
//! example application under load, and the programs around them.

mod app;
mod cli;
mod confd;
pub mod deps;
mod host;
mod load;
mod net;
pub mod programs;
mod report;
mod rng;
pub mod system;
mod test_host;
mod usage;
mod wait;
mod websocket;

pub use app::{App, Runtime, image};
pub use cli::{CommandResult, Gapless};
pub use confd::{Confd, Running};
pub use host::Host;
pub use load::Load;
pub use net::{free_port, get};
pub use report::Outcome;
pub use rng::Rng;
pub use test_host::{ExcusingLoad, LoadResult, TestHost, TestStack};
pub use usage::{Usage, files_below};
pub use wait::{ends_within, wait_for};
pub use websocket::WebSocket;

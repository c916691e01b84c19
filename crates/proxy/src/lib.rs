//! The data plane of gapless: carries requests by the route table. It knows routes and nothing else; neither
//! deployments, stores nor runtimes.

#![forbid(unsafe_code)]

mod balance;
mod body;
mod connection;
pub mod control;
mod deadlines;
mod exchange;
mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
pub mod handover;
mod headers;
mod hold;
mod limits;
mod pages;
mod placement;
mod plane;
mod pool;
mod predecessor;
mod preview;
mod process;
mod replay;
mod router;
mod sending;
mod session;
mod split;
pub mod table_file;
mod traffic;
mod upgrade;
mod upstream;
mod websocket;
mod worker;

pub use limits::Limits;
pub use process::{ProxyConfig, ProxyError, run, serve};

//! The data plane of gapless: carries requests by the route table. It knows routes and nothing else; neither
//! deployments, stores nor runtimes.

#![forbid(unsafe_code)]

pub mod control;
pub mod handover;
mod limits;
mod process;

pub use limits::Limits;
pub use process::{ProxyConfig, ProxyError, run};

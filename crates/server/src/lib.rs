//! The control plane: keeps the records, asks the core for decisions, drives the runtimes and data planes, and serves
//! the API.
//!
//! **Architecture Invariant:** killing the control plane, at any moment, stops nothing that serves and loses no
//! decision.

// The follower and the connections to other servers exist only with etcd.
#![cfg_attr(not(feature = "etcd"), allow(dead_code, unused_imports))]

pub mod backup;
pub mod clock;
#[cfg(feature = "etcd")]
mod cluster;
mod config;
mod control_plane;
pub mod controller;
mod error;
mod failpoints;
pub mod gates;
pub mod health;
mod http;
pub mod operations;
pub mod planes;
pub mod promotions;
pub mod records;
pub mod registry;
mod run;
pub mod runtimes;
mod secret;
pub mod tables;

pub use config::{PeersConfig, ServerConfig, StoreConfig};
pub use error::{Ended, ServerError};
pub use gapless_plane::nginx::{NginxConfig, NginxContainer};
pub use gapless_store::{EtcdConfig, EtcdTls};
pub use http::{ApiSocket, openapi_document};
pub use run::run;

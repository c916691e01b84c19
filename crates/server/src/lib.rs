//! The control plane: records, decides by the core, drives the runtimes and the data planes, and answers the API.
//!
//! **Architecture Invariant:** killing it, at any moment, stops nothing that serves and loses nothing that was decided.

pub mod backup;
pub mod clock;
mod cluster;
pub mod controller;
mod failing;
pub mod gates;
pub mod health;
mod http;
pub mod kv;
mod lead;
pub mod operations;
pub mod planes;
pub mod promotions;
pub mod records;
pub mod registry;
mod run;
pub mod runtimes;
pub mod tables;

pub use gapless_store::{EtcdConfig, EtcdTls};
pub use http::{ApiSocket, openapi_document};
pub use planes::nginx::{NginxConfig, NginxContainer};
pub use run::{Ended, PeersConfig, ServerConfig, ServerError, StoreConfig, run};

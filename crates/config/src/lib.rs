//! `gapless.toml`: read strictly, with every error shown where it stands; its JSON Schema; the template of
//! `gapless init`. And the server's own `server.toml`, read in the same way.
//!
//! **Architecture Invariant:** only this crate knows how the file is written. What it hands on is core's `Spec`, with
//! every default filled in and every path absolute; the server never sees the file.

mod env_file;
mod fields;
mod load;
mod problem;
mod read;
mod report;
mod section;
mod server;
mod shape;
mod template;
mod units;

pub use load::{LoadOptions, Loaded, Secrets, environments, following, load, parse};
pub use problem::{ConfigError, Problem};
pub use server::{
    EtcdTable, NginxTable, PeersTable, ProxyTable, REGISTRY_KEYS, RegistryTable, ServerFile, StoreTable, TlsTable,
    load_server, parse_server,
};
pub use shape::schema;
pub use template::{Runtime, TemplateOptions, template};
pub use units::{parse_duration, parse_size};

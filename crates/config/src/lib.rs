//! `gapless.toml`: read strictly, with every error shown where it stands; its JSON Schema; the template of
//! `gapless init`. And the server's own `server.toml`, read in the same way.
//!
//! **Architecture Invariant:** only this crate knows how the file is written. What it hands on is core's `Spec`, with
//! every default filled in and every path absolute; the server never sees the file.

mod env_file;
mod fields;
mod keys;
mod load;
mod options;
mod problem;
mod read;
mod reference;
mod report;
mod schema;
mod section;
mod server;
mod suggest;
mod template;
mod units;
mod wrap;

pub use keys::server::LISTEN_DEFAULT;
pub use load::{Loaded, environments, following, load, parse};
pub use options::{LoadOptions, Secrets};
pub use problem::{ConfigError, Problem};
pub use reference::reference;
pub use schema::{schema, server_schema};
pub use server::{
    EtcdTable, NginxTable, PeersTable, ProxyTable, RegistryTable, ServerFile, StoreTable, TlsTable, load_server,
    parse_server,
};
pub use template::{Runtime, TemplateOptions, template};
pub use units::{parse_duration, parse_size};

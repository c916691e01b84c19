//! The configuration files `gapless.toml` and `server.toml`: strict reading with every error at its place, the JSON
//! Schemas, the template of `gapless init` and the reference page `docs/configuration.md`.
//!
//! Each key is defined once, in `keys`; everything else is derived from these definitions.
//!
//! **Architecture Invariant:** only this crate knows the format of the files. Its result is core's `Spec`, with every
//! default filled in and every path absolute; the server never sees `gapless.toml`.

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

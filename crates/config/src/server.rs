//! `server.toml`, the configuration of the server, read as strictly as `gapless.toml`. The files that it names are read
//! with it, so that an error in a name is reported at its place.

mod proxy;
mod read;

use crate::keys;
use crate::keys::server::registry;
use crate::load::{self, read_file};
use crate::problem::ConfigError;
use crate::report::Report;
use crate::section::Section;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of a server; a key that is absent is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFile {
    /// The name of this server among several.
    pub name: Option<String>,
    /// The addresses of the proxy.
    pub listen: Option<Vec<SocketAddr>>,
    /// The folder of the state that must survive restarts.
    pub state_dir: Option<PathBuf>,
    /// The folder of the host's proxy and processes; shared by the servers of one host.
    pub host_dir: Option<PathBuf>,
    /// The socket of the API.
    pub socket: Option<PathBuf>,
    /// The store of the records.
    pub store: StoreTable,
    /// The facts that are published.
    pub registry: RegistryTable,
    /// The connections between servers.
    pub peers: Option<PeersTable>,
    /// The data plane that carries the requests of users.
    pub proxy: ProxyTable,
}

/// `[proxy]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyTable {
    /// `kind = "gapless"`: gapless's own proxy.
    #[default]
    Gapless,
    /// `kind = "nginx"`.
    Nginx(Box<NginxTable>),
}

/// `[proxy]` with `kind = "nginx"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxTable {
    /// The folder that gapless writes to, and nginx includes.
    pub config_dir: PathBuf,
    /// The program of nginx.
    pub binary: PathBuf,
    /// The main configuration of nginx.
    pub config: PathBuf,
    /// The file where nginx writes the process id of its master process.
    pub pid_file: PathBuf,
    /// The address where nginx reports its current configuration.
    pub status: SocketAddr,
    /// The addresses where nginx serves applications; `None` for the server's `listen`.
    pub listen: Option<Vec<SocketAddr>>,
    /// The number of generations of workers that may be exiting at a time.
    pub worker_generations_max: usize,
    /// The container that nginx runs in, and the path of `config_dir` in it.
    pub container: Option<(String, PathBuf)>,
    /// The user's own template for the file of an application.
    pub template: Option<PathBuf>,
}

/// `[store]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StoreTable {
    /// `kind = "sqlite"`: a file in the state folder.
    #[default]
    Sqlite,
    /// `kind = "etcd"`.
    Etcd(EtcdTable),
}

/// `[store]` with `kind = "etcd"`.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdTable {
    /// The client URLs of the members.
    pub endpoints: Vec<String>,
    /// The prefix of the keys of gapless.
    pub prefix: String,
    /// The user, and the password from `password_file`.
    pub user: Option<(String, String)>,
    /// TLS; `None` without `ca`.
    pub tls: Option<TlsTable>,
    /// The longest time of one call.
    pub deadline: Duration,
}

/// The contents of the files `ca`, `cert` and `key`, as PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsTable {
    /// The certificate of the authority.
    pub ca: Vec<u8>,
    /// The certificate of this side, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryTable {
    /// Facts are published.
    pub enabled: bool,
    /// The prefix of the published keys, before the name of the application.
    pub prefix: String,
    /// The published facts, each with the last part of its key; `None` for all, by their own names.
    pub keys: Option<BTreeMap<String, String>>,
}

impl Default for RegistryTable {
    fn default() -> Self {
        RegistryTable { enabled: registry::ENABLED_DEFAULT, prefix: String::new(), keys: None }
    }
}

/// `[peers]`.
#[derive(Clone, PartialEq, Eq)]
pub struct PeersTable {
    /// The address where this server listens for the others.
    pub listen: SocketAddr,
    /// The name or address, and port, by which the others reach this server.
    pub address: String,
    /// The authority that it trusts, and its own certificate.
    pub tls: TlsTable,
}

// The contents of the files must never be shown.
impl std::fmt::Debug for EtcdTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdTable")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("has_tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TlsTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTable").field("has_identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PeersTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersTable")
            .field("listen", &self.listen)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Reads the server's configuration file `path`, and the files that it names.
///
/// # Errors
/// All problems of these files.
pub fn load_server(path: &Path) -> Result<ServerFile, ConfigError> {
    let text = read_file(path, "name another file with `--config`")?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse_server(&text, &path.display().to_string(), folder)
}

/// Reads the server's configuration `text`, and the files that it names. Errors show it as `file_name`; paths in it are
/// relative to `base_dir`.
///
/// # Errors
/// All problems of the text and the files.
pub fn parse_server(text: &str, file_name: &str, base_dir: &Path) -> Result<ServerFile, ConfigError> {
    let report = Report::new(file_name, text).of_server();
    let Some(table) = load::table(text, &report) else {
        return Err(ConfigError::new(file_name, report.into_problems()));
    };
    let base = std::path::absolute(base_dir).unwrap_or_else(|_| base_dir.to_owned());
    let file =
        read::Reading { report: &report, base }.file(Section::root(&report, table.get_ref(), &keys::server::TABLE));
    if report.is_clean() { Ok(file) } else { Err(ConfigError::new(file_name, report.into_problems())) }
}

//! `server.toml`: what the server is told about itself, as strictly read and as plainly told as `gapless.toml`. What the
//! files that it names hold is read with it, so that a wrong name is shown where it stands.

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

/// What a server's configuration says; what it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFile {
    /// The server's name among several.
    pub name: Option<String>,
    /// What the proxy listens on.
    pub listen: Option<Vec<SocketAddr>>,
    /// Where everything is kept that must survive.
    pub state_dir: Option<PathBuf>,
    /// Where the host's proxy and processes are; shared by servers of one host.
    pub host_dir: Option<PathBuf>,
    /// The socket of the API.
    pub socket: Option<PathBuf>,
    /// Where the records are.
    pub store: StoreTable,
    /// Which facts are published.
    pub registry: RegistryTable,
    /// How servers reach each other.
    pub peers: Option<PeersTable>,
    /// What carries users' requests.
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
    /// nginx's program.
    pub binary: PathBuf,
    /// nginx's main configuration.
    pub config: PathBuf,
    /// Where nginx writes the id of its master process.
    pub pid_file: PathBuf,
    /// Where a server of gapless's own says which configuration nginx goes by.
    pub status: SocketAddr,
    /// What nginx serves applications on; the server's `listen` without it.
    pub listen: Option<Vec<SocketAddr>>,
    /// How many generations of workers may be ending at a time.
    pub worker_generations_max: usize,
    /// The container that nginx runs in, and where `config_dir` is mounted in it.
    pub container: Option<(String, PathBuf)>,
    /// A template of the user's own for an application's file.
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
    /// The members' client addresses.
    pub endpoints: Vec<String>,
    /// What stands before gapless's keys.
    pub prefix: String,
    /// The user, and the password that `password_file` holds.
    pub user: Option<(String, String)>,
    /// TLS, where `ca` is named.
    pub tls: Option<TlsTable>,
    /// The longest time of one call.
    pub deadline: Duration,
}

/// `ca`, `cert` and `key`: what those files hold, as PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsTable {
    /// The authority's certificate.
    pub ca: Vec<u8>,
    /// The own certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryTable {
    /// Whether facts are published at all.
    pub enabled: bool,
    /// What stands before the application's name in their keys.
    pub prefix: String,
    /// Which facts, and the last part of their keys; `None` for all, by their own names.
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
    /// Where this server listens for the others.
    pub listen: SocketAddr,
    /// The name or address, and port, that others reach it by.
    pub address: String,
    /// Whom it trusts, and what it shows.
    pub tls: TlsTable,
}

// None of these may show what the files hold.
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
/// Everything that is wrong with them.
pub fn load_server(path: &Path) -> Result<ServerFile, ConfigError> {
    let text = read_file(path, "name another file with `--config`")?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse_server(&text, &path.display().to_string(), folder)
}

/// Reads the server's configuration `text`, shown in errors as `file_name`, with paths in it relative to `base_dir`.
///
/// # Errors
/// Everything that is wrong with it.
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

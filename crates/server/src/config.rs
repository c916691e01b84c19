//! The configuration of a server, and the folders that it uses.

use crate::http::ApiSocket;
use crate::registry::RegistryConfig;
use gapless_core::Timestamp;
use gapless_plane::builtin::ProxyProcess;
use gapless_plane::nginx::NginxConfig;
use gapless_store::EtcdConfig;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The server's name, unique among the servers of a store.
    pub name: String,
    /// The folder of everything that must survive a restart.
    pub state_dir: PathBuf,
    /// The folder of the host's proxy and processes; without it, the state folder. Servers of one host share it.
    pub host_dir: Option<PathBuf>,
    /// The socket of the API.
    pub socket: ApiSocket,
    /// The addresses on which the proxy listens.
    pub listen: Vec<SocketAddr>,
    /// The nginx that is the data plane; without it, gapless's own proxy is.
    pub nginx: Option<NginxConfig>,
    /// The control socket of a proxy that something else runs, such as systemd. The server then starts no proxy.
    pub proxy_socket: Option<PathBuf>,
    /// The gapless binary, which is started as a proxy (`proxy`) and as a shim (`shim`).
    pub program: PathBuf,
    /// The store of the records.
    pub store: StoreConfig,
    /// The connections between servers of one store.
    pub peers: Option<PeersConfig>,
    /// The facts that are published.
    pub registry: RegistryConfig,
}

impl ServerConfig {
    /// The prefix of gapless's own keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.store {
            StoreConfig::Sqlite => "",
            StoreConfig::Etcd(etcd) => &etcd.prefix,
        }
    }
}

/// The store of the records.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// A file in the state folder.
    Sqlite,
    /// An etcd, shared with other servers.
    Etcd(Box<EtcdConfig>),
}

/// The connections between servers of one store: TLS, and both sides show a certificate that the same CA signed.
#[derive(Clone)]
pub struct PeersConfig {
    /// The address on which this server listens for the others.
    pub listen: SocketAddr,
    /// The host name or address, and port, at which other servers reach this one.
    pub address: String,
    /// The certificate of the CA, as PEM.
    pub ca: Vec<u8>,
    /// The certificate of this server, as PEM.
    pub cert: Vec<u8>,
    /// The private key of that certificate, as PEM.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for PeersConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersConfig")
            .field("listen", &self.listen)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The folders of a server, as absolute paths without links, and the time of its start.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) state_dir: PathBuf,
    pub(crate) host_dir: PathBuf,
    pub(crate) started_at: Timestamp,
}

impl Paths {
    /// The host's proxy: how it is started, or where it answers if something else runs it.
    pub(crate) fn proxy(&self, config: &ServerConfig) -> ProxyProcess {
        let elsewhere = config.proxy_socket.clone();
        ProxyProcess {
            command: vec![config.program.clone(), "proxy".into()],
            is_own: elsewhere.is_none(),
            control_socket: elsewhere.unwrap_or_else(|| self.host_dir.join("proxy.sock")),
            table_file: self.host_dir.join("routes.json"),
            log: self.host_dir.join("proxy.log"),
            listen: config.listen.clone(),
        }
    }
}

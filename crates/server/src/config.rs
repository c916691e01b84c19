//! The configuration of a server, and the folders that it uses.

use crate::http::ApiSocket;
use crate::registry::RegistryConfig;
use gapless_core::Timestamp;
use gapless_plane::builtin::ProxyProcess;
use gapless_plane::nginx::NginxConfig;
use gapless_store::EtcdConfig;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name among several.
    pub name: String,
    /// Where everything is kept that must survive.
    pub state_dir: PathBuf,
    /// Where the host's proxy and processes are; the state folder without it. Servers of one host share it.
    pub host_dir: Option<PathBuf>,
    /// The socket of the API.
    pub socket: ApiSocket,
    /// What the proxy listens on.
    pub listen: Vec<SocketAddr>,
    /// The nginx that is the data plane, where it is not gapless's own proxy.
    pub nginx: Option<NginxConfig>,
    /// The control socket of a proxy that something else keeps running, such as systemd; the server starts none then.
    pub proxy_socket: Option<PathBuf>,
    /// The program that runs a proxy (`proxy`) and a shim (`shim`): gapless itself.
    pub program: PathBuf,
    /// Where the records are.
    pub store: StoreConfig,
    /// How servers of one store reach each other.
    pub peers: Option<PeersConfig>,
    /// Which facts are published.
    pub registry: RegistryConfig,
}

impl ServerConfig {
    /// What stands before gapless's own keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.store {
            StoreConfig::Sqlite => "",
            StoreConfig::Etcd(etcd) => &etcd.prefix,
        }
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In a file in the state folder.
    Sqlite,
    /// In an etcd, shared with other servers.
    Etcd(Box<EtcdConfig>),
}

/// How servers of one store reach each other: by TLS, each showing a certificate that the same authority signed.
#[derive(Clone)]
pub struct PeersConfig {
    /// Where this server listens for the others.
    pub listen: SocketAddr,
    /// The name or address, and port, that others reach it by.
    pub address: String,
    /// The authority's certificate, as PEM.
    pub ca: Vec<u8>,
    /// The own certificate, as PEM.
    pub cert: Vec<u8>,
    /// Its key, as PEM.
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

/// Where a server has its things, as they really are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) state_dir: PathBuf,
    pub(crate) host_dir: PathBuf,
    pub(crate) started_at: Timestamp,
}

impl Paths {
    /// How the host's proxy is started, or where it is found if something else does that.
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

//! `gapless server`: runs the control plane.

use super::upgrade;
use crate::args::Server;
use crate::exit::Failure;
use crate::present::{default_socket, default_state_dir, log};
use crate::supervised::{self, ProcessStatus};
use gapless_api::{ClientError, Code};
use gapless_config::{
    EtcdTable, LISTEN_DEFAULT, NginxTable, PeersTable, ProxyTable, ServerFile, StoreTable, TlsTable, load_server,
};
use gapless_server::registry::RegistryConfig;
use gapless_server::{
    ApiSocket, Ended, EtcdConfig, EtcdTls, NginxConfig, NginxContainer, PeersConfig, ServerConfig, StoreConfig,
};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// The configuration that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "/etc/gapless/server.toml";
/// The prefix of the store for the keys of other programs and the facts published for them. etcd has them under their
/// plain names.
const PLAIN_BELOW: &str = "/kv";

/// Runs the server. Returns the API's socket if this process is to execute the program again, else `None`.
pub async fn run(
    args: Server,
    socket: Option<PathBuf>,
    inherited: Option<UnixListener>,
) -> Result<Option<ApiSocket>, Failure> {
    let is_json = args.log_json;
    let config = configured(args, socket, inherited)?;
    log::start(is_json);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let mut upgrade = signal(upgrade::signal()).map_err(Failure::other)?;
    let restarts = Arc::new(AtomicBool::new(false));
    let stop = {
        let (restarts, program) = (restarts.clone(), config.program.clone());
        async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = upgrade.recv() => {}
                }
                match upgrade::version_of(&program).await {
                    Ok(version) => {
                        tracing::info!(version, "upgrade requested; restarting with the program on disk");
                        restarts.store(true, Ordering::Release);
                        return;
                    }
                    Err(why) => {
                        let program = program.display();
                        tracing::error!(%program, why, "upgrade ignored: the program on disk does not run");
                    }
                }
            }
            supervised::stopping();
        }
    };
    let socket = config.socket.clone();
    let own = socket.path().to_owned();
    supervised::start(move || own_status(own.clone()));
    let ended = Box::pin(gapless_server::run(config, || {}, stop)).await.map_err(Failure::other)?;
    Ok((restarts.load(Ordering::Acquire) || ended == Ended::Restart).then_some(socket))
}

/// The configuration from the file, with the values of the command line in front. `inherited` is the API's socket that
/// the previous process image passed on.
pub fn configured(
    args: Server,
    socket: Option<PathBuf>,
    inherited: Option<UnixListener>,
) -> Result<ServerConfig, Failure> {
    let file = match &args.config {
        Some(path) => load_server(path)?,
        None if Path::new(DEFAULT_FILE).exists() => load_server(Path::new(DEFAULT_FILE))?,
        None => ServerFile::default(),
    };
    let listen = if args.listen.is_empty() { file.listen.unwrap_or_else(|| vec![LISTEN_DEFAULT]) } else { args.listen };
    Ok(ServerConfig {
        name: file.name.unwrap_or_else(host),
        state_dir: args.state_dir.or(file.state_dir).unwrap_or_else(default_state_dir),
        host_dir: file.host_dir,
        proxy_socket: args.proxy_socket,
        socket: ApiSocket::new(socket.or(file.socket).unwrap_or_else(default_socket), inherited),
        nginx: match file.proxy {
            ProxyTable::Gapless => None,
            ProxyTable::Nginx(table) => Some(nginx_config(*table, &listen)),
        },
        listen,
        program: std::env::current_exe().map_err(Failure::other)?,
        store: match file.store {
            StoreTable::Sqlite => StoreConfig::Sqlite,
            StoreTable::Etcd(etcd) => StoreConfig::Etcd(Box::new(etcd_config(etcd))),
        },
        peers: file.peers.map(peers_config),
        registry: RegistryConfig {
            enabled: file.registry.enabled,
            prefix: file.registry.prefix,
            keys: file.registry.keys,
        },
    })
}

fn nginx_config(table: NginxTable, listen: &[SocketAddr]) -> NginxConfig {
    NginxConfig {
        config_dir: table.config_dir,
        binary: table.binary,
        config: table.config,
        pid_file: table.pid_file,
        status: table.status,
        listen: table.listen.unwrap_or_else(|| listen.to_vec()),
        worker_generations_max: table.worker_generations_max,
        container: table.container.map(|(name, config_dir)| NginxContainer { name, config_dir }),
        template: table.template,
    }
}

fn etcd_config(table: EtcdTable) -> EtcdConfig {
    let EtcdTable { endpoints, prefix, user, tls, deadline } = table;
    EtcdConfig {
        prefix,
        plain_below: Some(PLAIN_BELOW.to_owned()),
        user,
        tls: tls.map(|TlsTable { ca, identity }| EtcdTls { ca, identity }),
        deadline,
        ..EtcdConfig::new(endpoints)
    }
}

fn peers_config(table: PeersTable) -> PeersConfig {
    let PeersTable { listen, address, tls } = table;
    let (cert, key) = tls.identity.unwrap_or_default();
    PeersConfig { listen, address, ca: tls.ca, cert, key }
}

/// The status of this process, as it answers on its socket. A server that waits for its store answers as well, because
/// a restart by the watchdog would not bring the store back.
async fn own_status(socket: PathBuf) -> Option<ProcessStatus> {
    let status = match gapless_api::Client::new(socket).server().await {
        Ok(server) if server.pid != std::process::id() => return None,
        Ok(server) => match server.leader {
            Some(leader) => format!("following {leader}"),
            None => format!("leading; state: {}", server.store),
        },
        Err(ClientError::Api(error)) if error.code == Code::Unavailable => error.message,
        Err(_) => return None,
    };
    Some(ProcessStatus { status, is_ending: false })
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

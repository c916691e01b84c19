//! Commands about gapless itself on its host: its two processes, their installation and upgrade, and its records.

use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Store {
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// The direction of a backup.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Write all records to a file: those of the running server, or of the store itself if no server runs
    Export {
        /// The file; it contains the variables of applications, so only its owner can read it
        file: PathBuf,
        /// With etcd: also export the keys with this prefix; may be given several times
        #[arg(long, value_name = "PREFIX")]
        kv: Vec<String>,
        #[command(flatten)]
        server: StoreOf,
    },
    /// Fill a store from a file, while no server uses the store
    Import {
        /// The file
        file: PathBuf,
        /// Replace the records of the store
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: StoreOf,
    },
}

/// The store, named by the flags of the server that uses it.
#[derive(Debug, Args)]
pub struct StoreOf {
    /// The server's configuration [default: /etc/gapless/server.toml, if it exists]
    #[arg(short = 'c', long, env = "GAPLESS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The state folder of the server [default: /var/lib/gapless, or below $XDG_STATE_HOME when not root]
    #[arg(long, env = "GAPLESS_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
}

impl From<StoreOf> for Server {
    fn from(of: StoreOf) -> Self {
        Server { config: of.config, state_dir: of.state_dir, listen: Vec::new(), proxy_socket: None, log_json: false }
    }
}

#[derive(Debug, Args)]
pub struct Install {
    /// An address that the proxy listens on; may be given several times [default: 0.0.0.0:80]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// The program that the units run [default: this one]
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// Write below this folder, for an image that is being built; start nothing
    #[arg(long, default_value = "/", value_name = "FOLDER")]
    pub root: PathBuf,
    /// Print the files that would be written or removed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Stop and remove what was installed; instances and records stay
    #[arg(long)]
    pub uninstall: bool,
}

#[derive(Debug, Args)]
pub struct Upgrade {
    /// Restart only this process
    #[arg(long, value_enum)]
    pub only: Option<Role>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A process of gapless itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The data plane, which carries requests
    Proxy,
    /// The control plane, which deploys
    Server,
}

#[derive(Debug, Args)]
pub struct Server {
    /// The server's configuration [default: /etc/gapless/server.toml, if it exists]
    #[arg(short = 'c', long, env = "GAPLESS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder for all durable state [default: /var/lib/gapless, or below $XDG_STATE_HOME when not root]
    #[arg(long, env = "GAPLESS_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// An address that the proxy listens on; may be given several times [default: 0.0.0.0:80]
    #[arg(long, env = "GAPLESS_LISTEN", value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// The control socket of a proxy that something else keeps running, such as systemd; the server then starts none
    #[arg(long, env = "GAPLESS_PROXY_SOCKET", value_name = "PATH")]
    pub proxy_socket: Option<PathBuf>,
    /// Print the log as JSON
    #[arg(long)]
    pub log_json: bool,
}

#[derive(Debug, Args)]
pub struct Proxy {
    /// The control socket to answer at
    #[arg(long, value_name = "PATH")]
    pub control_socket: PathBuf,
    /// The file for the last good route table
    #[arg(long, value_name = "FILE")]
    pub table_file: PathBuf,
    /// An address to listen on; without any, use the sockets that systemd or another process passes
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// The number of cores to use [default: all]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Take over from the proxy that answers at the control socket
    #[arg(long)]
    pub replace: bool,
}

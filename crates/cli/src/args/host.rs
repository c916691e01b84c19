//! Commands and flags that are about gapless itself on its host: its two processes, how they are installed and replaced,
//! and what they record.

use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What `gapless store` needs to know.
#[derive(Debug, Args)]
pub struct Store {
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What is done with everything that is recorded.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Write it into a file: of the server that runs, or of the store itself where none does
    Export {
        /// The file; it holds the variables of applications, so it is its owner's alone
        file: PathBuf,
        /// With etcd: export the keys that begin with this, too; may be given several times
        #[arg(long, value_name = "PREFIX")]
        kv: Vec<String>,
        #[command(flatten)]
        server: StoreOf,
    },
    /// Fill a store from a file, while no server uses it
    Import {
        /// The file
        file: PathBuf,
        /// Replace what is recorded there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: StoreOf,
    },
}

/// Whose store it is: that of the server that is started in the same way.
#[derive(Debug, Args)]
pub struct StoreOf {
    /// The server's configuration [default: /etc/gapless/server.toml, if it exists]
    #[arg(short = 'c', long, env = "GAPLESS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the server keeps its state [default: /var/lib/gapless, or below $XDG_STATE_HOME when not root]
    #[arg(long, env = "GAPLESS_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
}

impl From<StoreOf> for Server {
    fn from(of: StoreOf) -> Self {
        Server { config: of.config, state_dir: of.state_dir, listen: Vec::new(), proxy_socket: None, log_json: false }
    }
}

/// What `gapless install` needs to know.
#[derive(Debug, Args)]
pub struct Install {
    /// An address that the proxy listens on; may be given several times [default: 0.0.0.0:80]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// The program that the units run [default: this one]
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// Write below this folder, for an image that is being built; nothing is started then
    #[arg(long, default_value = "/", value_name = "FOLDER")]
    pub root: PathBuf,
    /// Say what would be written or removed, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Stop and remove what was installed; instances and what is recorded stay
    #[arg(long)]
    pub uninstall: bool,
}

/// What `gapless upgrade` needs to know.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// Only that one
    #[arg(long, value_enum)]
    pub only: Option<Role>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A process of gapless's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The one that carries requests
    Proxy,
    /// The one that deploys
    Server,
}

/// What `gapless server` needs to know.
#[derive(Debug, Args)]
pub struct Server {
    /// The server's configuration [default: /etc/gapless/server.toml, if it exists]
    #[arg(short = 'c', long, env = "GAPLESS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept that must survive [default: /var/lib/gapless, or below $XDG_STATE_HOME when not root]
    #[arg(long, env = "GAPLESS_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// An address that the proxy listens on; may be given several times [default: 0.0.0.0:80]
    #[arg(long, env = "GAPLESS_LISTEN", value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// The control socket of a proxy that something else keeps running, such as systemd; the server starts none then
    #[arg(long, env = "GAPLESS_PROXY_SOCKET", value_name = "PATH")]
    pub proxy_socket: Option<PathBuf>,
    /// Print the log as JSON
    #[arg(long)]
    pub log_json: bool,
}

/// What `gapless proxy` needs to know.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Its control socket
    #[arg(long, value_name = "PATH")]
    pub control_socket: PathBuf,
    /// Where it keeps its last good route table
    #[arg(long, value_name = "FILE")]
    pub table_file: PathBuf,
    /// An address to listen on; without any it waits for sockets that are handed over, or takes those that systemd holds
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// How many cores it uses [default: all]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Take over from the proxy that answers at the control socket
    #[arg(long)]
    pub replace: bool,
}

//! The process of a data plane: what it is started with, and its start and end.

use crate::Limits;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a data plane is started with.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The addresses to listen on. May be empty: then the sockets come by [`handover`](crate::handover).
    pub listen: Vec<SocketAddr>,
    /// The Unix socket that it is controlled by. The one for handovers stands beside it, with `.fds` behind its name.
    pub control_socket: PathBuf,
    /// Where the last good table is kept.
    pub table_file: PathBuf,
    /// Threads that carry requests; at least one.
    pub workers: usize,
    /// Whether a data plane that answers at the control socket is replaced: its listening sockets are taken over and it
    /// is told to stop. Otherwise that is an error.
    pub replace: bool,
    /// What clients may make it hold.
    pub limits: Limits,
}

/// Why a data plane did not start, or ended otherwise than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another data plane answers at the control socket.
    #[error("another data plane answers at {}; stop it first, or replace it", socket.display())]
    AlreadyRunning {
        /// The control socket.
        socket: PathBuf,
    },
    /// A Unix socket cannot be created.
    #[error("cannot create the socket {}: {source}", socket.display())]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The table file cannot be read, though it is there.
    #[error("cannot read the table {}: {source}", file.display())]
    TableFile {
        /// Its path.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused threads or the like.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs a data plane until it is told to stop by SIGTERM, SIGINT or over its control socket. Makes the process the
/// leader of a session of its own, so that it outlives who started it.
///
/// # Errors
/// Where it cannot start.
pub fn run(config: ProxyConfig) -> Result<(), ProxyError> {
    let _ = config;
    Err(ProxyError::Start(io::Error::other("not built yet")))
}

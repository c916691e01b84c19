//! The API's socket: only its owner and group may connect, and the kernel names the user of each connection. A process
//! image passes the socket on to the next one.

use gapless_effect::{Point, step};
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Listening;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{UnixListener, UnixStream};

/// The mode of the socket: owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// Why the API's socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another server answers at the path.
    #[error("another gapless server answers at {0}; stop it first, or choose another --socket")]
    InUse(PathBuf),
    /// The socket cannot be created.
    #[error("the socket {path} cannot be opened: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// The API's socket: its path, and once it is open its listener.
#[derive(Debug, Clone)]
pub struct ApiSocket {
    path: PathBuf,
    listening: Arc<Mutex<Option<Listening>>>,
}

impl ApiSocket {
    /// The socket at `path`. `inherited` is the listener that the previous process image passed on, if there was one.
    #[must_use]
    pub fn new(path: PathBuf, inherited: Option<Listening>) -> Self {
        ApiSocket { path, listening: Arc::new(Mutex::new(inherited)) }
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the socket, and replaces a socket file at which no server answers. An inherited socket is open already:
    /// clients that have connected since wait there.
    ///
    /// # Errors
    /// If another server answers at the path, or the socket cannot be created.
    pub(crate) async fn open(&self) -> Result<UnixListener, ListenError> {
        let io = |error| ListenError::Io { path: self.path.clone(), error };
        let inherited = self.listening().take();
        let listening = match (UnixStream::connect(&self.path).await, inherited) {
            (Ok(there), Some(inherited)) if is_of_this_process(&there) => inherited,
            (Ok(_), _) => return Err(ListenError::InUse(self.path.clone())),
            (Err(_), _) => bind(&self.path).map_err(io)?,
        };
        listening.set_nonblocking(true).map_err(io)?;
        *self.listening() = Some(listening.try_clone().map_err(io)?);
        UnixListener::from_std(listening).map_err(io)
    }

    /// Passes the socket on to the program that this process is about to execute in its place, as systemd does
    /// (sd_listen_fds(3)), but with any descriptor number.
    ///
    /// # Errors
    /// The error of the system: the program then opens the socket again.
    pub fn hand_on(&self, to: &mut Command) -> io::Result<()> {
        let listening = self.listening();
        let Some(listening) = listening.as_ref() else { return Ok(()) };
        fcntl_setfd(listening, FdFlags::empty())?;
        to.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", listening.as_raw_fd().to_string());
        to.env("LISTEN_PID", std::process::id().to_string());
        Ok(())
    }

    fn listening(&self) -> MutexGuard<'_, Option<Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if this process, in this or an earlier image, created the listener: the kernel reports its process.
fn is_of_this_process(there: &UnixStream) -> bool {
    let pid = there.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    pid == Some(std::process::id())
}

fn bind(path: &Path) -> io::Result<Listening> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Created under another name and renamed, so that the socket never has wider permissions at its path.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let listening = Listening::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(SOCKET_MODE))?;
    step(Point::ServerSocket, || std::fs::rename(&fresh, path))?;
    Ok(listening)
}

//! The API's socket: only its owner and group may open it, and who does is recorded by the kernel's word. A process image
//! that ends for another one hands it on.

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

/// Owner and group may talk to the server.
const SOCKET_MODE: u32 = 0o660;

/// Why the API's socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another server answers there.
    #[error("another gapless server answers at {0}; stop it first, or choose another --socket")]
    InUse(PathBuf),
    /// The socket could not be made.
    #[error("the socket {path} cannot be opened: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The API's socket: where it is, and from when it is open what listens there.
#[derive(Debug, Clone)]
pub struct ApiSocket {
    path: PathBuf,
    listening: Arc<Mutex<Option<Listening>>>,
}

impl ApiSocket {
    /// The socket at `path`. `inherited` is what the process image before this one handed on, if there was one.
    #[must_use]
    pub fn new(path: PathBuf, inherited: Option<Listening>) -> Self {
        ApiSocket { path, listening: Arc::new(Mutex::new(inherited)) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, in place of one that nobody answers at any more. One that was handed on is open: who has connected since
    /// waits there.
    ///
    /// # Errors
    /// If another server answers there, or it cannot be made.
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

    /// Hands it on to the program that this process is about to execute in its own place, as systemd does
    /// (sd_listen_fds(3)), but at whichever descriptor it is.
    ///
    /// # Errors
    /// What the system says: the program opens it anew then.
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

/// Whether this process, in an image before, has made that socket listen: the kernel remembers who did.
fn is_of_this_process(there: &UnixStream) -> bool {
    let pid = there.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    pid == Some(std::process::id())
}

fn bind(path: &Path) -> io::Result<Listening> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Made under another name and renamed, so that it never stands there with wider permissions.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let listening = Listening::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(SOCKET_MODE))?;
    step(Point::ServerSocket, || std::fs::rename(&fresh, path))?;
    Ok(listening)
}

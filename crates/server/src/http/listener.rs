//! The API's socket: only its owner and group may open it, and who does is recorded by the kernel's word.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use gapless_effect::{Point, step};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
        error: std::io::Error,
    },
}

/// The API's socket.
pub struct Listener;

impl Listener {
    /// Opens the socket at `path`, in place of one that nobody answers at any more.
    ///
    /// # Errors
    /// If another server answers there, or it cannot be made.
    pub async fn bind(path: &Path) -> Result<UnixListener, ListenError> {
        let io = |error| ListenError::Io { path: path.to_owned(), error };
        if UnixStream::connect(path).await.is_ok() {
            return Err(ListenError::InUse(path.to_owned()));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        // Made under another name and renamed, so that it never stands there with wider permissions.
        let fresh = path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh).map_err(io)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(SOCKET_MODE)).map_err(io)?;
        step(Point::ServerSocket, || std::fs::rename(&fresh, path)).map_err(io)?;
        Ok(listener)
    }
}

/// The header in which a server that forwards a request says for whom.
pub const FORWARDED_BY: &str = "x-gapless-by";

/// Who is at the other end of the socket.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A user of this host.
    User(Option<u32>),
    /// Another server, which has shown its certificate.
    Server,
    /// Whom another server forwards for.
    Named(String),
}

impl Peer {
    /// The name of the user, or the number where it has none.
    pub(crate) fn name(&self) -> String {
        match self {
            Peer::User(Some(uid)) => user_name(*uid).unwrap_or_else(|| format!("uid {uid}")),
            Peer::User(None) => "unknown".to_owned(),
            Peer::Server => "another server".to_owned(),
            Peer::Named(name) => name.clone(),
        }
    }

    /// Whether it is believed when it says for whom it asks: another server is, and this server's own user, who could
    /// do in its place whatever it does.
    pub(super) fn may_forward(&self) -> bool {
        match self {
            Peer::Server => true,
            Peer::User(Some(uid)) => *uid == 0 || *uid == rustix::process::geteuid().as_raw(),
            Peer::User(None) | Peer::Named(_) => false,
        }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Peer::User(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Read from the file: the name service would load libraries, which a static binary cannot.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

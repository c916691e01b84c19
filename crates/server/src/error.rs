//! Why a server ended, and why a server cannot start.

use crate::http::ListenError;
use crate::records::RecordError;
use gapless_plane::builtin::SupervisorError;
use gapless_runtime::RuntimeError;
use gapless_store::StoreError;
use std::path::PathBuf;

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server was asked to stop.
    Stopped,
    /// The server lost the lead, or cannot know whether it still leads. The caller restarts the server in a new process
    /// image, so that nothing that was in progress continues.
    Restart,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The state folder cannot be used.
    #[error("the state folder {} cannot be used: {error}", path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// Another server uses the state folder.
    #[error("another gapless server uses the state folder {}; stop it first, or choose another --state-dir", .0.display())]
    StateDirInUse(PathBuf),
    /// Another server of the same store has the same name.
    #[error(
        "another server named {name} runs with the same etcd: process {pid} on {host}; give this one another `name` in \
         server.toml, or stop that one"
    )]
    SameName {
        /// The name.
        name: String,
        /// The process id of the other server.
        pid: u32,
        /// The host of the other server.
        host: String,
    },
    /// An import into the store was interrupted.
    #[error("an import into the store was interrupted; import again, with `gapless store import --force FILE`")]
    ImportIncomplete,
    /// The configuration names etcd, and this build has no support for it.
    #[error("this gapless was built without etcd; build it with its default features, or use SQLite in server.toml")]
    BuiltWithoutEtcd,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A runtime cannot be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The proxy cannot be started or reached.
    #[error(transparent)]
    Proxy(#[from] SupervisorError),
    /// The API's socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address for other servers cannot be used.
    #[error("other servers cannot reach this one at {address}: {why}")]
    Peers {
        /// The address.
        address: String,
        /// The reason, and what to do.
        why: String,
    },
    /// Serving the API failed.
    #[error("the API stopped: {0}")]
    Api(std::io::Error),
}

//! Why a server ends, and why it cannot start.

use crate::http::ListenError;
use crate::records::RecordError;
use gapless_plane::builtin::SupervisorError;
use gapless_runtime::RuntimeError;
use gapless_store::StoreError;
use std::path::PathBuf;

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Whoever runs it begins it anew, in a process image of its own, so that nothing that was under way goes on: it does
    /// not lead any more, or cannot know whether it does.
    BeginsAnew,
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
        /// Why.
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
        /// The other's process.
        pid: u32,
        /// The other's host.
        host: String,
    },
    /// The store was not filled to its end.
    #[error("an import into the store was broken off; import again, with `gapless store import --force FILE`")]
    HalfImported,
    /// The configuration names etcd, and this build has no support for it.
    #[error("this gapless was built without etcd; build it with its default features, or use SQLite in server.toml")]
    BuiltWithoutEtcd,
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A runtime cannot be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The proxy cannot be had.
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
        /// Why, and what to do.
        why: String,
    },
    /// The API broke.
    #[error("the API ended: {0}")]
    Api(std::io::Error),
}

//! Where keys come from.

mod env;
mod etcd;
mod file;
mod server;
mod yaml;

pub use etcd::{EtcdSettings, TlsFiles};
pub use file::FileSettings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a backend may take for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Which backend, and how to reach it.
#[derive(Debug, Clone)]
pub enum BackendSettings {
    /// etcd, version 3
    Etcd(EtcdSettings),
    /// The environment's variables
    Env,
    /// YAML and JSON files
    File(FileSettings),
    /// The gapless server at that socket
    Gapless(PathBuf),
}

/// A backend.
#[derive(Clone)]
pub enum Backend {
    /// etcd, version 3
    Etcd(etcd::Etcd),
    /// The environment's variables
    Env,
    /// YAML and JSON files
    File(FileSettings),
    /// The gapless server
    Gapless(server::Server),
}

/// Why a backend does not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// etcd.
    #[error("etcd at {nodes}: {problem}")]
    Etcd {
        /// Which.
        nodes: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The server.
    #[error("the gapless server at {}: {problem}", socket.display())]
    Server {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A value is no text.
    #[error("the value of {0} is not UTF-8, so no template can have it")]
    NotText(String),
    /// It is too slow.
    #[error("{0} did not answer within {DEADLINE:?}")]
    Slow(String),
}

impl Backend {
    /// A backend as the settings say. Nothing is asked of it yet.
    ///
    /// # Errors
    /// If the settings cannot be used: certificates that cannot be read, addresses that are none.
    pub async fn new(settings: BackendSettings) -> Result<Backend, BackendError> {
        Ok(match settings {
            BackendSettings::Etcd(settings) => Backend::Etcd(etcd::Etcd::new(settings).await?),
            BackendSettings::Env => Backend::Env,
            BackendSettings::File(settings) => Backend::File(settings),
            BackendSettings::Gapless(socket) => Backend::Gapless(server::Server::new(socket)),
        })
    }

    /// All keys at and below each of these, with their values.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        match self {
            Backend::Etcd(etcd) => etcd.values(keys).await,
            Backend::Env => Ok(env::values(std::env::vars_os(), keys)),
            Backend::File(files) => files.values(keys),
            Backend::Gapless(server) => server.values(keys).await,
        }
    }

    /// Begins to watch what is at and below each of these.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn watch(&self, keys: &[String]) -> Result<Watch, BackendError> {
        Ok(match self {
            Backend::Etcd(etcd) => Watch::Etcd(etcd.watch(keys).await?),
            Backend::Env => Watch::Never,
            Backend::File(files) => Watch::File(files.watch()),
            Backend::Gapless(server) => Watch::Gapless(server.watch(keys).await?),
        })
    }
}

/// A watch that has begun: what changes from then on is told.
pub enum Watch {
    /// etcd's own
    Etcd(etcd::EtcdWatch),
    /// The environment of a process does not change.
    Never,
    /// Files are looked at again and again.
    File(file::FileWatch),
    /// A request that the server answers when there is something.
    Gapless(server::ServerWatch),
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These keys.
    Keys(Vec<String>),
    /// It cannot be told.
    Anything,
}

impl Watch {
    /// Waits for a change.
    ///
    /// # Errors
    /// If the watch is over: it has to be begun anew, and what changed meanwhile was not told.
    pub async fn next(&mut self) -> Result<Change, BackendError> {
        match self {
            Watch::Etcd(watch) => watch.next().await,
            Watch::Never => std::future::pending().await,
            Watch::File(watch) => Ok(watch.next().await),
            Watch::Gapless(watch) => watch.next().await,
        }
    }
}

/// Whether a key is one of those, or below one of them.
#[must_use]
pub fn concerns(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The keys without those that are below others of them.
fn outermost(keys: &[String]) -> Vec<String> {
    let mut sorted: Vec<&String> = keys.iter().collect();
    sorted.sort();
    let mut outer: Vec<String> = Vec::new();
    for key in sorted {
        if !outer.iter().any(|known| concerns(key, known)) {
            outer.push(key.clone());
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_concerns_what_is_above_it() {
        assert!(concerns("/a/b", "/a"));
        assert!(concerns("/a", "/a"));
        assert!(concerns("/a/b", "/"));
        assert!(!concerns("/ab", "/a"));
        assert_eq!(outermost(&["/a/b".into(), "/a".into(), "/ab".into(), "/a".into()]), ["/a", "/ab"]);
        assert_eq!(outermost(&["/x".into(), "/".into()]), ["/"]);
    }
}

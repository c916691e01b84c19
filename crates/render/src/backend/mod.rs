//! Backends: the sources of keys.

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

/// How long a backend may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// A backend with its settings.
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

/// An error of a backend.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// etcd failed.
    #[error("etcd at {nodes}: {problem}")]
    Etcd {
        /// The members.
        nodes: String,
        /// The cause and the remedy.
        problem: String,
    },
    /// A file cannot be read or parsed.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
    /// The gapless server failed.
    #[error("the gapless server at {}: {problem}", socket.display())]
    Server {
        /// The server's socket.
        socket: PathBuf,
        /// The cause.
        problem: String,
    },
    /// A value is not UTF-8.
    #[error("the value of {0} is not UTF-8, and templates can only use UTF-8")]
    NotText(String),
    /// No answer in time.
    #[error("{0} did not answer within {DEADLINE:?}")]
    Timeout(String),
}

impl Backend {
    /// Creates a backend from its settings. Does not connect.
    ///
    /// # Errors
    /// If the settings are invalid: unreadable certificates, malformed addresses.
    pub async fn new(settings: BackendSettings) -> Result<Backend, BackendError> {
        Ok(match settings {
            BackendSettings::Etcd(settings) => Backend::Etcd(etcd::Etcd::new(settings).await?),
            BackendSettings::Env => Backend::Env,
            BackendSettings::File(settings) => Backend::File(settings),
            BackendSettings::Gapless(socket) => Backend::Gapless(server::Server::new(socket)),
        })
    }

    /// All keys at and below each of these keys, with their values.
    ///
    /// # Errors
    /// If the backend does not answer.
    pub async fn values(&self, keys: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        match self {
            Backend::Etcd(etcd) => etcd.values(keys).await,
            Backend::Env => Ok(env::values(std::env::vars_os(), keys)),
            Backend::File(files) => files.values(keys),
            Backend::Gapless(server) => server.values(keys).await,
        }
    }

    /// Starts a watch of everything at and below each of these keys.
    ///
    /// # Errors
    /// If the backend does not answer.
    pub async fn watch(&self, keys: &[String]) -> Result<Watch, BackendError> {
        Ok(match self {
            Backend::Etcd(etcd) => Watch::Etcd(etcd.watch(keys).await?),
            Backend::Env => Watch::Never,
            Backend::File(files) => Watch::File(files.watch()),
            Backend::Gapless(server) => Watch::Gapless(server.watch(keys).await?),
        })
    }
}

/// A running watch: reports all later changes.
pub enum Watch {
    /// etcd's own
    Etcd(etcd::EtcdWatch),
    /// The environment of a process does not change.
    Never,
    /// A poll of files.
    File(file::FileWatch),
    /// A long poll of the server.
    Gapless(server::ServerWatch),
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These keys have changed.
    Keys(Vec<String>),
    /// The changed keys are unknown.
    Anything,
}

impl Watch {
    /// Waits for a change.
    ///
    /// # Errors
    /// If the watch has ended: the caller must start a new one and read everything again.
    pub async fn next(&mut self) -> Result<Change, BackendError> {
        match self {
            Watch::Etcd(watch) => watch.next().await,
            Watch::Never => std::future::pending().await,
            Watch::File(watch) => Ok(watch.next().await),
            Watch::Gapless(watch) => watch.next().await,
        }
    }
}

/// The key is `prefix` or below it.
#[must_use]
pub fn concerns(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The keys, without those below others.
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
    fn key_concerns_its_prefixes() {
        assert!(concerns("/a/b", "/a"));
        assert!(concerns("/a", "/a"));
        assert!(concerns("/a/b", "/"));
        assert!(!concerns("/ab", "/a"));
        assert_eq!(outermost(&["/a/b".into(), "/a".into(), "/ab".into(), "/a".into()]), ["/a", "/ab"]);
        assert_eq!(outermost(&["/x".into(), "/".into()]), ["/"]);
    }
}

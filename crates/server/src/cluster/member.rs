//! A member of the cluster: one server as the others see it, identified by an id in its state folder.

use crate::config::{Paths, ServerConfig};
use crate::error::ServerError;
use gapless_core::Timestamp;
use gapless_effect::{Point, step};
use gapless_store::{EtcdStore, Session, Store, StoreError, Txn};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The lease of a server: how long it may be silent until another one leads. etcd takes up to half a second more to
/// notice.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(3);
/// The maximum time that a killed server still has its name: its lease, and the time that etcd takes to notice.
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(LEASE_TTL.as_secs() + 3);
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A server as the other servers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// Random, drawn once for the state folder, which one process at a time uses.
    pub(super) id: String,
    pub(super) pid: u32,
    /// The host name.
    pub(super) host: String,
    /// The socket of the API, for servers on the same host.
    pub(super) socket: PathBuf,
    /// The address for other servers, if `[peers]` is configured.
    pub(super) address: Option<String>,
    pub(super) since: Timestamp,
}

impl Member {
    /// This server.
    pub(super) fn this(config: &ServerConfig, paths: &Paths) -> Result<Member, ServerError> {
        Ok(Member {
            name: config.name.clone(),
            id: id(&paths.state_dir)?,
            pid: std::process::id(),
            host: host(),
            socket: std::path::absolute(config.socket.path()).unwrap_or_else(|_| config.socket.path().to_owned()),
            address: config.peers.as_ref().map(|peers| peers.address.clone()),
            since: paths.started_at,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Member> {
        serde_json::from_slice(value).ok()
    }

    /// Claims the server's name for as long as the session lasts.
    ///
    /// # Errors
    /// If another server has it, or etcd refuses.
    pub(super) async fn claim_name(&self, store: &EtcdStore, session: &Session) -> Result<(), ServerError> {
        let key = format!("/gapless/servers/{}", self.name);
        let give_up_at = Instant::now() + PREDECESSOR_GONE_WITHIN;
        loop {
            let entry = match session.acquire(&key, &self.encode()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(entry)) => entry,
                // If etcd stays unavailable, the session ends, and this call with it.
                Err(StoreError::Unavailable { .. }) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let other = Member::decode(&entry.value);
            if other.as_ref().is_some_and(|other| other.id == self.id) {
                // An earlier process of this server owned the name: no other server uses its state folder.
                if let Err(error) = release(store, &key, entry.mod_revision).await {
                    tracing::warn!(
                        "cannot take over the name from the previous process of this server: {error}; retrying"
                    );
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                continue;
            }
            if Instant::now() >= give_up_at {
                let (pid, host) = other.map_or((0, "an unknown host".to_owned()), |other| (other.pid, other.host));
                return Err(ServerError::SameName { name: self.name.clone(), pid, host });
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// Removes a key that an earlier process of this server still owns.
pub(super) async fn release(store: &EtcdStore, key: &str, mod_revision: u64) -> Result<(), StoreError> {
    store.commit(Txn::new().expect(key, mod_revision).delete(key)).await.map(drop)
}

/// Locks the state folder against other servers, for as long as the returned file is open.
pub(super) fn lock(state_dir: &Path) -> Result<File, ServerError> {
    let unusable = |error: std::io::Error| ServerError::StateDir { path: state_dir.to_owned(), error };
    let path = state_dir.join("server.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServerError::StateDirInUse(state_dir.to_owned())),
        Err(error) => Err(unusable(error.into())),
    }
}

/// The name of this host.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn id(state_dir: &Path) -> Result<String, ServerError> {
    let path = state_dir.join("server-id");
    let unusable = |error| ServerError::StateDir { path: path.clone(), error };
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(error)),
        _ => {
            let id = crate::secret::secret();
            let fresh = state_dir.join("server-id.new");
            let note = || std::fs::write(&fresh, &id).and_then(|()| std::fs::rename(&fresh, &path));
            step(Point::ServerId, note).map_err(unusable)?;
            Ok(id)
        }
    }
}

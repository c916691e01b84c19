//! The state of the API, which every handler uses.

use crate::controller::Shared;
use crate::operations::Operations;
use crate::registry::keys::UserKeys;
use gapless_api::Role;
use gapless_core::Timestamp;
use gapless_plane::DataPlane;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The state of the API.
pub struct Api {
    /// The values that the controllers use.
    pub shared: Arc<Shared>,
    /// The operations that people request.
    pub operations: Operations,
    /// The host's data plane.
    pub plane: Arc<dyn DataPlane>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// The time of the server's start.
    pub started_at: Timestamp,
    /// The role of this server among several.
    pub about: About,
    /// The keys of users, and published facts.
    pub keys: UserKeys,
    /// The permits of requests that wait for changes of keys.
    pub watchers: Semaphore,
}

/// The role of a server among several.
#[derive(Debug, Clone)]
pub struct About {
    /// The name of the server.
    pub name: String,
    /// The place of the records, for people.
    pub store: String,
    /// True if other programs use the store too.
    pub is_shared: bool,
    /// Leader or follower.
    pub role: Role,
    /// The name of the leader, if another server leads.
    pub leader: Option<String>,
}

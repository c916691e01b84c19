//! The state that every handler works with.

use crate::controller::Shared;
use crate::operations::Operations;
use crate::registry::keys::UserKeys;
use gapless_api::Role;
use gapless_core::Timestamp;
use gapless_plane::DataPlane;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What the handlers work with.
pub struct Api {
    /// What the controllers work with.
    pub shared: Arc<Shared>,
    /// What people ask for.
    pub operations: Operations,
    /// The host's data plane.
    pub plane: Arc<dyn DataPlane>,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Since when the server runs.
    pub started_at: Timestamp,
    /// What the server is among several.
    pub about: About,
    /// Keys of the user's own, and published facts.
    pub keys: UserKeys,
    /// Places for those who wait for changes of them.
    pub watchers: Semaphore,
}

/// What a server is among several.
#[derive(Debug, Clone)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Where the records are, for people.
    pub store: String,
    /// Whether the store is other programs', too.
    pub is_shared: bool,
    /// Whether it leads.
    pub role: Role,
    /// The name of the server that leads, where it is another one.
    pub leader: Option<String>,
}

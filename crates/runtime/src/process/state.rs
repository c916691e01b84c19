//! The recorded state of an instance: its processes, and the marker of a freeze.

use super::identity::{self, Identity};
use gapless_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Marks an instance as frozen from before the freeze until after the thaw: also if either is interrupted.
pub(super) const FROZEN_MARKER: &str = "frozen";

/// The running processes, each by its id and start time, so that a process that gets a reused id is never mistaken for
/// one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub shim: Identity,
    pub main: Identity,
    pub since: Timestamp,
    pub cgroup: Option<PathBuf>,
}

impl State {
    /// The processes of an instance: its main process, and all descendants of it and of its shim. A process that
    /// double-forks becomes the shim's child again, because the shim is a subreaper (prctl(2)).
    pub(super) fn tree(&self) -> io::Result<Vec<u32>> {
        let mut all = Vec::new();
        if self.main.is_alive()? {
            all.push(self.main.pid);
            all.extend(identity::descendants(self.main.pid)?);
        }
        if self.shim.is_alive()? {
            all.extend(identity::descendants(self.shim.pid)?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

/// The instance in `folder` is frozen, or a freeze or thaw of it was interrupted.
pub(super) fn is_frozen(folder: &Path) -> bool {
    folder.join(FROZEN_MARKER).exists()
}

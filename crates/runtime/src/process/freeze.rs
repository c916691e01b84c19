//! Freezing an instance: by the cgroup's freezer where there is one of version 2, otherwise by SIGSTOP to each of its
//! processes, which none of them can catch.

use super::folder::{Folders, State, failed, unseen};
use super::{cgroup, identity};
use crate::RuntimeError;
use gapless_core::InstanceName;
use gapless_effect::{Point, step};
use rustix::process::{Signal, kill_process};
use std::path::Path;
use std::{fs, io};

/// Says that the instance is frozen, or was being frozen or thawed when something went wrong: all of that is frozen.
const MARKER: &str = "frozen";

/// Processes that are begun while others are being stopped are found in the next round.
const ROUNDS_MAX: usize = 100;

pub(super) fn is_frozen(folder: &Path) -> bool {
    folder.join(MARKER).exists()
}

/// Freezes the instance, if it runs.
pub(super) fn freeze(folders: &Folders, name: &InstanceName) -> Result<(), RuntimeError> {
    let folder = folders.of(name);
    let Some(state) = folders.state(name)? else { return Ok(()) };
    let unknown = |error: io::Error| unseen(&folder, &error);
    if !state.main.is_alive().map_err(unknown)? {
        return Ok(());
    }
    // First: a server that is killed on the way leaves none that stands still and is said to run.
    step(Point::ProcessFrozen, || fs::write(folder.join(MARKER), "")).map_err(|error| failed(&folder, &error))?;
    if !set_frozen(&state, true).map_err(unknown)? {
        let mut stopped = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut tree = identity::tree(&state).map_err(unknown)?;
            tree.retain(|pid| !stopped.contains(pid));
            if tree.is_empty() {
                break;
            }
            signal(&tree, Signal::STOP);
            stopped.extend(tree);
        }
    }
    Ok(())
}

/// Lets it go on, if it is frozen.
pub(super) fn thaw(folders: &Folders, name: &InstanceName) -> Result<(), RuntimeError> {
    let folder = folders.of(name);
    if !is_frozen(&folder) {
        return Ok(());
    }
    let unknown = |error: io::Error| unseen(&folder, &error);
    if let Some(state) = folders.state(name)?
        && !set_frozen(&state, false).map_err(unknown)?
    {
        signal(&identity::tree(&state).map_err(unknown)?, Signal::CONT);
    }
    step(Point::ProcessThawed, || fs::remove_file(folder.join(MARKER))).map_err(|error| failed(&folder, &error))
}

/// Whether its group has a freezer; then that is done.
fn set_frozen(state: &State, is_frozen: bool) -> io::Result<bool> {
    state.cgroup.as_deref().map_or(Ok(false), |group| cgroup::set_frozen(group, is_frozen))
}

fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| identity::raw(*pid)) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

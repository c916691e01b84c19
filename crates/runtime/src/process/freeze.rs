//! Freezes an instance: by the freezer of its cgroup (version 2), otherwise by SIGSTOP, which no process can catch, to
//! each of its processes.

use super::folder::{Folders, failed, inspection_failed};
use super::state::{FROZEN_MARKER, State, is_frozen};
use super::{cgroup, identity};
use crate::RuntimeError;
use gapless_core::InstanceName;
use gapless_effect::{Point, step};
use rustix::process::{Signal, kill_process};
use std::{fs, io};

/// Rounds of SIGSTOP: processes that are started meanwhile are found in the next round.
const ROUNDS_MAX: usize = 100;

/// Freezes the instance, if it runs.
pub(super) fn freeze(folders: &Folders, name: &InstanceName) -> Result<(), RuntimeError> {
    let folder = folders.of(name);
    let Some(state) = folders.state(name)? else { return Ok(()) };
    let unknown = |error: io::Error| inspection_failed(&folder, &error);
    if !state.main.is_alive().map_err(unknown)? {
        return Ok(());
    }
    // First: if the server is killed halfway, no stopped instance is listed as running.
    step(Point::ProcessFrozen, || fs::write(folder.join(FROZEN_MARKER), ""))
        .map_err(|error| failed(&folder, &error))?;
    if !set_frozen(&state, true).map_err(unknown)? {
        let mut stopped = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut tree = state.tree().map_err(unknown)?;
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

/// Thaws the instance, if it is frozen.
pub(super) fn thaw(folders: &Folders, name: &InstanceName) -> Result<(), RuntimeError> {
    let folder = folders.of(name);
    if !is_frozen(&folder) {
        return Ok(());
    }
    let unknown = |error: io::Error| inspection_failed(&folder, &error);
    if let Some(state) = folders.state(name)?
        && !set_frozen(&state, false).map_err(unknown)?
    {
        signal(&state.tree().map_err(unknown)?, Signal::CONT);
    }
    step(Point::ProcessThawed, || fs::remove_file(folder.join(FROZEN_MARKER))).map_err(|error| failed(&folder, &error))
}

/// Freezes or thaws the instance's cgroup; `false` if it has no freezer.
fn set_frozen(state: &State, is_frozen: bool) -> io::Result<bool> {
    state.cgroup.as_deref().map_or(Ok(false), |group| cgroup::set_frozen(group, is_frozen))
}

fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| identity::raw(*pid)) {
        // The process may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

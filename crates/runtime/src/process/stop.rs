//! Stops an instance: SIGTERM to its process group, then SIGKILL to all its descendants, then its folder is removed.

use super::folder::{Folders, failed, inspection_failed, removed};
use super::state::State;
use super::{cgroup, identity};
use crate::RuntimeError;
use gapless_core::{InstanceName, Millis};
use gapless_effect::{Point, step};
use rustix::process::{Signal, kill_process_group};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(5);
/// How long killed processes may take to disappear: the kernel frees their memory first.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Stops the instance and removes its files. Does nothing if there is no such instance.
pub(super) async fn stop(folders: &Folders, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
    let folder = folders.of(name);
    if let Some(state) = folders.state(name)? {
        if !state.main.has_ended() {
            signal_group(&state, Signal::TERM).map_err(|error| inspection_failed(&folder, &error))?;
            wait_until(Instant::now() + grace.to_duration(), || state.main.has_ended()).await;
        }
        let give_up_at = Instant::now() + KILL_DEADLINE;
        let is_gone = wait_until(give_up_at, || {
            let Ok(tree) = state.tree() else { return false };
            tree.iter().filter_map(|pid| identity::raw(*pid)).for_each(identity::kill);
            if let Some(cgroup) = &state.cgroup {
                cgroup::kill(cgroup);
            }
            tree.is_empty()
        })
        .await;
        // Without children, the shim records the exit and ends by itself.
        wait_until(Instant::now() + KILL_DEADLINE, || state.shim.has_ended()).await;
        if !is_gone || !state.shim.has_ended() {
            let why =
                "its processes do not end after SIGKILL; check for a hanging disk or network file system".to_owned();
            return Err(RuntimeError::Failed { doing: format!("stopping {name}"), why });
        }
        if let Some(cgroup) = &state.cgroup {
            cgroup::remove(cgroup);
        }
    } else {
        let (of, name) = (folder.clone(), name.clone());
        folders.blocking(move |folders| end_unrecorded(folders, &of, &name)).await?;
    }
    removed(step(Point::ProcessRemove, || std::fs::remove_dir_all(&folder)))
        .map_err(|error| failed(&folder, &error))?;
    folders.release(&name.placement)
}

/// Ends the processes of an instance without a recorded state; it has never received a request.
pub(super) fn end_unrecorded(folders: &Folders, folder: &Path, name: &InstanceName) -> Result<(), RuntimeError> {
    let give_up_at = std::time::Instant::now() + KILL_DEADLINE;
    loop {
        // Repeated: a shim may have started its program since.
        let left = identity::unrecorded(folder, &folders.releases(), &name.to_string());
        let left = left.map_err(|error| inspection_failed(folder, &error))?;
        if left.is_empty() {
            return Ok(());
        }
        for process in left {
            process.signal(Signal::KILL).map_err(|error| inspection_failed(folder, &error))?;
        }
        if std::time::Instant::now() >= give_up_at {
            let why = "processes of an earlier start do not end after SIGKILL".to_owned();
            return Err(RuntimeError::Failed { doing: format!("stopping {name}"), why });
        }
        std::thread::sleep(POLL);
    }
}

/// Signals the process group of the main process, if that is alive: then the group still belongs to it.
fn signal_group(state: &State, signal: Signal) -> io::Result<()> {
    if state.main.is_alive()?
        && let Some(group) = identity::raw(state.main.pid)
    {
        // The group may have just ended.
        let _ = kill_process_group(group, signal);
    }
    Ok(())
}

async fn wait_until(deadline: Instant, mut condition: impl FnMut() -> bool) -> bool {
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

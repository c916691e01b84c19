//! Starts an instance: writes its plan, then starts a shim that executes it.

use super::folder::{self, Folders, Plan, failed, removed};
use super::state::State;
use super::{ports, program};
use crate::{InstancePlan, RuntimeError};
use gapless_core::spec::Process;
use gapless_effect::{Point, step};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long a shim may take to start its process.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// The files that an ended instance leaves, and those that a shim leaves if it is killed while writing them.
const OF_AN_EARLIER_RUN: [&str; 6] = ["exit.json", "exit.new", "state.json", "state.new", "failure", "frozen"];
const START_POLL: Duration = Duration::from_millis(1);

/// Writes the instance's plan; `None` if the instance already runs.
pub(crate) fn plan(folders: &Folders, plan: &InstancePlan, process: &Process) -> Result<Option<PathBuf>, RuntimeError> {
    let cannot = |why: String| RuntimeError::Start { name: plan.name.clone(), why };
    if folders.status(plan.name.clone())?.is_some_and(|status| status.is_there()) {
        return Ok(None);
    }
    let program = program::kept(folders, &plan.artifact, process).filter(|path| path.exists());
    let program = program.ok_or_else(|| cannot("the copy of its program is missing; deploy it again".to_owned()))?;
    let folder = folders.of(&plan.name);
    // Before the port is chosen: the last folder's removal releases the reserved ports.
    step(Point::ProcessFolder, || fs::create_dir_all(&folder)).map_err(|error| failed(&folder, &error))?;
    let (port, peers) = ports::of(folders, plan).inspect_err(|_| {
        // Removes the folder only if it is empty, that is, new.
        let _ = fs::remove_dir(&folder);
        let _ = folders.release(&plan.name.placement);
    })?;
    // Files of an earlier run must not be mistaken for this run's.
    let forgotten = step(Point::ProcessForget, || {
        OF_AN_EARLIER_RUN.iter().try_for_each(|old| removed(fs::remove_file(folder.join(old))))
    });
    forgotten.map_err(|error| failed(&folder, &error))?;
    let arguments = process.command.get(1..).unwrap_or_default();
    let plan = Plan::new(plan, program, arguments, &process.directory, process.user.clone(), port, peers);
    folder::write(&folders.plan(&plan.name), &plan).map_err(|error| failed(&folder, &error))?;
    Ok(Some(folder))
}

/// Starts a shim for the planned instance and waits until its process runs.
pub(super) async fn run(shim: &[OsString], folder: &Path) -> Result<(), RuntimeError> {
    let failed_to = |why: String| RuntimeError::Failed { doing: format!("starting {}", folder.display()), why };
    let (program, arguments) = shim.split_first().ok_or_else(|| failed_to("no shim is configured".to_owned()))?;
    let log = step(Point::ProcessShimLog, || File::create(folder.join("shim.log")))
        .map_err(|error| failed(folder, &error))?;
    let errors = log.try_clone().map_err(|error| failed(folder, &error))?;
    let mut command = Command::new(program);
    command.args(arguments).arg(folder).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let mut child = step(Point::ProcessShim, || command.spawn()).map_err(|error| failed_to(error.to_string()))?;
    let give_up_at = tokio::time::Instant::now() + START_DEADLINE;
    loop {
        // A failed inspection is retried in the next round.
        if let Ok(Some(_)) = folder::read::<State>(&folder.join("state.json")) {
            // Reaps the shim when it ends; it is no child of the next server.
            tokio::spawn(async move { child.wait().await });
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            let why =
                fs::read_to_string(folder.join("failure")).unwrap_or_else(|_| format!("its shim ended with {status}"));
            return Err(failed_to(why));
        }
        if tokio::time::Instant::now() >= give_up_at {
            let _ = child.start_kill();
            return Err(failed_to(format!("its process did not start within {} s", START_DEADLINE.as_secs())));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

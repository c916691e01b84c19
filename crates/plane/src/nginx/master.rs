//! nginx's processes: the master, which reloads, and its workers. The title of an old worker says that it is shutting
//! down.

use gapless_effect::{Point, step};
use gapless_runtime::proc;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A part of the title of a master process.
const TITLE: &str = "nginx: master process";
/// The maximum number of reads of a process's children until two reads in a row agree.
const CHILDREN_READ_MAX: usize = 8;

/// Why nginx's processes cannot be found or signalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MasterError {
    #[error("nginx does not run: {} names no process; start nginx, or set `pid_file` in server.toml", .0.display())]
    NotRunning(PathBuf),
    #[error("nginx does not run: process {pid}, which {} names, is not its master; start nginx", file.display())]
    OtherProcess { pid: u32, file: PathBuf },
    #[error("cannot reload nginx (process {pid}): {why}; run gapless as root, or as the user that runs nginx")]
    Signal { pid: u32, why: String },
    #[error("nginx's processes cannot be inspected: {0}")]
    Inspect(String),
}

impl MasterError {
    pub(super) fn inspect(error: &io::Error) -> Self {
        MasterError::Inspect(error.to_string())
    }
}

/// The master process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Master(pub(super) u32);

/// A worker process. The start time distinguishes processes with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worker {
    pid: u32,
    started: u64,
}

/// A worker, and true if it is ending: then it has closed its listening sockets, and finishes its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerStatus {
    pub(super) worker: Worker,
    pub(super) is_ending: bool,
}

impl Master {
    /// The running master of that pid file.
    pub(super) fn find(pid_file: &Path) -> Result<Self, MasterError> {
        let text = fs::read_to_string(pid_file).unwrap_or_default();
        let pid: u32 = text.trim().parse().map_err(|_| MasterError::NotRunning(pid_file.to_owned()))?;
        match title(pid).map_err(|error| MasterError::inspect(&error))? {
            Some(title) if title.contains(TITLE) => Ok(Master(pid)),
            Some(title) if !title.is_empty() => Err(MasterError::OtherProcess { pid, file: pid_file.to_owned() }),
            _ => Err(MasterError::NotRunning(pid_file.to_owned())),
        }
    }

    /// The master among a container's first process and its children.
    pub(super) fn among(first: u32) -> io::Result<Option<Self>> {
        for pid in std::iter::once(first).chain(all_children(first)?) {
            if title(pid)?.is_some_and(|title| title.contains(TITLE)) {
                return Ok(Some(Master(pid)));
            }
        }
        Ok(None)
    }

    /// The start time, in ticks since the boot of the host; `None` if the process has ended or cannot be inspected.
    pub(super) fn started(self) -> Option<u64> {
        started(self.0).ok().flatten()
    }

    /// True if the process with that start time still runs.
    pub(super) fn is_still(self, then: u64) -> bool {
        self.started() == Some(then) && matches!(title(self.0), Ok(Some(title)) if title.contains(TITLE))
    }

    /// Signals the master to read its configuration again.
    pub(super) fn reload(self) -> Result<(), MasterError> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        let signal = || Ok(kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, Signal::HUP)?);
        step(Point::NginxReload, signal).map_err(|error| MasterError::Signal { pid: self.0, why: error.to_string() })
    }

    /// The workers of the master.
    pub(super) fn workers(self) -> Result<Vec<WorkerStatus>, MasterError> {
        self.list_workers().map_err(|error| MasterError::inspect(&error))
    }

    fn list_workers(self) -> io::Result<Vec<WorkerStatus>> {
        let mut workers = Vec::new();
        for pid in children(self.0)? {
            // Title before start time: nginx sets the title right before it closes its sockets.
            if let (Some(title), Some(started)) = (title(pid)?, started(pid)?)
                && title.contains("nginx: worker process")
            {
                workers.push(WorkerStatus {
                    worker: Worker { pid, started },
                    is_ending: title.contains("is shutting down"),
                });
            }
        }
        Ok(workers)
    }
}

/// The title of a process.
fn title(pid: u32) -> io::Result<Option<String>> {
    let bytes = proc::read(pid, "cmdline")?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()))
}

/// The start time of a process, in ticks since the boot of the host.
fn started(pid: u32) -> io::Result<Option<u64>> {
    Ok(proc::stat(pid)?.map(|stat| stat.began))
}

/// The children of a process's first thread. The kernel's list may lack some while other children end ("some children
/// might be skipped", the kernel's `filesystems/proc.rst`, 3.7), and old workers end together: so two reads in a row
/// must agree.
fn children(parent: u32) -> io::Result<Vec<u32>> {
    let mut before = None;
    for _ in 0..CHILDREN_READ_MAX {
        let Some(listed) = proc::read(parent, &format!("task/{parent}/children"))? else { break };
        if before.as_ref() == Some(&listed) {
            let text = String::from_utf8_lossy(&listed);
            return Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect());
        }
        before = Some(listed);
    }
    // The list changes all the time, or the kernel has no such list.
    all_children(parent)
}

/// The children of a process, of any of its threads.
fn all_children(parent: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for pid in proc::pids()? {
        if proc::stat(pid)?.is_some_and(|stat| stat.parent == parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn master_is_found_when_another_thread_started_it() {
        let start = || std::process::Command::new("sleep").arg0(TITLE).arg("600").spawn().unwrap();
        let mut master = std::thread::spawn(start).join().unwrap();
        let found = Master::among(std::process::id()).unwrap();
        master.kill().unwrap();
        master.wait().unwrap();
        assert_eq!(found, Some(Master(master.id())));
    }

    #[test]
    fn master_is_not_found_when_pid_file_names_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nginx.pid");
        assert_eq!(Master::find(&file), Err(MasterError::NotRunning(file.clone())));
        fs::write(&file, "").unwrap();
        assert_eq!(Master::find(&file), Err(MasterError::NotRunning(file.clone())));
        let pid = std::process::id();
        fs::write(&file, format!("{pid}\n")).unwrap();
        assert_eq!(Master::find(&file), Err(MasterError::OtherProcess { pid, file }));
    }
}

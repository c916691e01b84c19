//! nginx's processes: the master that is told to reload, and its workers, of which old ones say in their title that they
//! are ending.

use gapless_effect::{Point, step};
use gapless_runtime::proc;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What a master process calls itself.
const TITLE: &str = "nginx: master process";
/// How often the list of a process's children is read until it has said the same twice.
const CHILDREN_READ_MAX: usize = 8;

/// Why nginx cannot be told anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MasterError {
    #[error("nginx does not run: {} names no process; start nginx, or set `pid_file` in server.toml", .0.display())]
    NotRunning(PathBuf),
    #[error("nginx does not run: process {pid}, which {} names, is not its master; start nginx", file.display())]
    OtherProcess { pid: u32, file: PathBuf },
    #[error(
        "nginx (process {pid}) cannot be told to reload: {why}; run gapless as root, or as the user that runs nginx"
    )]
    Signal { pid: u32, why: String },
    #[error("nginx's processes cannot be looked at: {0}")]
    Unseen(String),
}

impl MasterError {
    pub(super) fn unseen(error: &io::Error) -> Self {
        MasterError::Unseen(error.to_string())
    }
}

/// The master process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Master(pub(super) u32);

/// A worker process; ids of processes are used again, with another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worker {
    pid: u32,
    started: u64,
}

/// A worker, and whether it is ending: then it has closed its listening sockets, and finishes what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) worker: Worker,
    pub(super) is_ending: bool,
}

impl Master {
    /// The one that runs.
    pub(super) fn find(pid_file: &Path) -> Result<Self, MasterError> {
        let text = fs::read_to_string(pid_file).unwrap_or_default();
        let pid: u32 = text.trim().parse().map_err(|_| MasterError::NotRunning(pid_file.to_owned()))?;
        match title(pid).map_err(|error| MasterError::unseen(&error))? {
            Some(title) if title.contains(TITLE) => Ok(Master(pid)),
            Some(title) if !title.is_empty() => Err(MasterError::OtherProcess { pid, file: pid_file.to_owned() }),
            _ => Err(MasterError::NotRunning(pid_file.to_owned())),
        }
    }

    /// The one among a container's first process and those that it started.
    pub(super) fn among(first: u32) -> io::Result<Option<Self>> {
        for pid in std::iter::once(first).chain(all_children(first)?) {
            if title(pid)?.is_some_and(|title| title.contains(TITLE)) {
                return Ok(Some(Master(pid)));
            }
        }
        Ok(None)
    }

    /// When it was started, in ticks since the host was; nothing where it has ended, or that cannot be told.
    pub(super) fn started(self) -> Option<u64> {
        started(self.0).ok().flatten()
    }

    /// Whether it is known to be the one that was started then, and to run.
    pub(super) fn is_still(self, then: u64) -> bool {
        self.started() == Some(then) && matches!(title(self.0), Ok(Some(title)) if title.contains(TITLE))
    }

    /// Tells it to read its configuration anew.
    pub(super) fn reload(self) -> Result<(), MasterError> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        let tell = || Ok(kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, Signal::HUP)?);
        step(Point::NginxReload, tell).map_err(|error| MasterError::Signal { pid: self.0, why: error.to_string() })
    }

    /// Its workers.
    pub(super) fn workers(self) -> Result<Vec<Seen>, MasterError> {
        self.look_at_workers().map_err(|error| MasterError::unseen(&error))
    }

    fn look_at_workers(self) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for pid in children(self.0)? {
            // In this order: nginx sets the title right before it closes its sockets.
            if let (Some(title), Some(started)) = (title(pid)?, started(pid)?)
                && title.contains("nginx: worker process")
            {
                seen.push(Seen { worker: Worker { pid, started }, is_ending: title.contains("is shutting down") });
            }
        }
        Ok(seen)
    }
}

/// What a process calls itself.
fn title(pid: u32) -> io::Result<Option<String>> {
    let bytes = proc::read(pid, "cmdline")?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()))
}

/// When it was started, in ticks since the host was.
fn started(pid: u32) -> io::Result<Option<u64>> {
    Ok(proc::stat(pid)?.map(|stat| stat.began))
}

/// The processes that the first thread of one started. The kernel's list of them may lack some where others end while it is
/// read ("some children might be skipped", the kernel's `filesystems/proc.rst`, 3.7), and old workers end together: so it
/// has to say the same twice.
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
    // It changes all the time, or the kernel has no such list.
    all_children(parent)
}

/// The processes that one started, whatever thread of it did.
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
    fn a_master_is_found_whichever_thread_of_the_containers_first_process_started_it() {
        let start = || std::process::Command::new("sleep").arg0(TITLE).arg("600").spawn().unwrap();
        let mut master = std::thread::spawn(start).join().unwrap();
        let found = Master::among(std::process::id()).unwrap();
        master.kill().unwrap();
        master.wait().unwrap();
        assert_eq!(found, Some(Master(master.id())));
    }

    #[test]
    fn a_process_that_is_not_nginx_is_not_told_to_reload() {
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

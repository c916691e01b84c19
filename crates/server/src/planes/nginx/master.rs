//! nginx's processes: the master that is told to reload, and its workers, of which old ones say in their title that they
//! are ending.

use gapless_effect::{Point, step};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

/// What a master process calls itself.
const TITLE: &str = "nginx: master process";

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
        match title(pid) {
            Some(title) if title.contains(TITLE) => Ok(Master(pid)),
            Some(title) if !title.is_empty() => Err(MasterError::OtherProcess { pid, file: pid_file.to_owned() }),
            _ => Err(MasterError::NotRunning(pid_file.to_owned())),
        }
    }

    /// The one among a container's first process and those that it started.
    pub(super) fn among(first: u32) -> Option<Self> {
        let is_master = |pid: &u32| title(*pid).is_some_and(|title| title.contains(TITLE));
        std::iter::once(first).chain(children(first)).find(is_master).map(Master)
    }

    /// When it was started, in ticks since the host was.
    pub(super) fn started(self) -> Option<u64> {
        started(self.0)
    }

    /// Whether it is the one that was started then, and runs.
    pub(super) fn is_still(self, then: u64) -> bool {
        self.started() == Some(then) && title(self.0).is_some_and(|title| title.contains(TITLE))
    }

    /// Tells it to read its configuration anew.
    pub(super) fn reload(self) -> Result<(), MasterError> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        let tell = || Ok(kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, Signal::HUP)?);
        step(Point::NginxReload, tell).map_err(|error| MasterError::Signal { pid: self.0, why: error.to_string() })
    }

    /// Its workers.
    pub(super) fn workers(self) -> Vec<Seen> {
        let seen = children(self.0).into_iter().filter_map(|pid| {
            let title = title(pid)?;
            // In this order: nginx sets the title right before it closes its sockets.
            let started = started(pid)?;
            let is_worker = title.contains("nginx: worker process");
            is_worker.then(|| Seen { worker: Worker { pid, started }, is_ending: title.contains("is shutting down") })
        });
        seen.collect()
    }
}

/// What a process calls itself.
fn title(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned())
}

/// When it was started, in ticks since the host was.
fn started(pid: u32) -> Option<u64> {
    field(pid, 22)
}

/// A number of /proc/PID/stat, counted from 1 (proc(5)). The second one is a name, and may hold anything.
fn field(pid: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn children(parent: u32) -> Vec<u32> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    // A kernel without that file.
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| field(*pid, 4) == Some(u64::from(parent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

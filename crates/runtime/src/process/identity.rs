//! The identity of a process: its id and its start time, since the kernel reuses ids.

use crate::proc;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// A process; never another process that got the same id later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub pid: u32,
    /// The start time in clock ticks since boot (proc(5), field 22 of `stat`).
    pub began: u64,
}

impl Identity {
    /// The process that has this id now.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(proc::stat(pid)?.map(|stat| Identity { pid, began: stat.began }))
    }

    /// The process still runs; a zombie does not.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        Ok(proc::stat(self.pid)?.is_some_and(|stat| stat.began == self.began && !stat.is_dead))
    }

    /// The process has certainly ended; `false` if its inspection fails.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.is_alive(), Ok(false))
    }

    /// Sends a signal. Opens the pidfd before it checks the identity, so the signal cannot reach another process.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        if let Some(pidfd) = self.pidfd()? {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
        Ok(())
    }

    /// A pidfd (pidfd_open(2)), if the process still runs; it becomes readable when the process ends.
    pub(super) fn pidfd(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = raw(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(self.is_alive()?.then_some(pidfd)),
            // The id is free, or belongs to a thread by now.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.pid, self.began)
    }
}

/// The processes of an instance without a recorded state: its shim, and the program that a shim started before it was
/// killed and could record it. A program is identified by its variable `GAPLESS_INSTANCE` together with its path below
/// `releases`, which is unique on this host.
pub(super) fn unrecorded(folder: &Path, releases: &Path, name: &str) -> io::Result<Vec<Identity>> {
    let mut found = Vec::new();
    let variable = format!("GAPLESS_INSTANCE={name}");
    let is_kept = |path: &Path| path.starts_with(releases);
    for pid in proc::pids()?.into_iter().filter(|pid| *pid != std::process::id()) {
        let words = strings(pid, "cmdline")?;
        let is_shim = words.iter().any(|word| Path::new(word) == folder);
        let is_ours = words.iter().any(|word| is_kept(Path::new(word)))
            || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| is_kept(&program));
        if (is_shim || is_ours && strings(pid, "environ")?.contains(&variable))
            && let Some(process) = Identity::of(pid)?
            && process.is_alive()?
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// The NUL-terminated strings in a file of a process.
fn strings(pid: u32, file: &str) -> io::Result<Vec<String>> {
    let bytes = proc::read(pid, file)?.unwrap_or_default();
    Ok(bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// Parses an instance's id.
pub(super) fn pid_of(id: &str) -> Option<Identity> {
    let (pid, began) = id.split_once(':')?;
    Some(Identity { pid: pid.parse().ok()?, began: began.parse().ok()? })
}

/// Kills a process that was just identified as one of the instance's; it may have ended meanwhile.
pub(super) fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

pub(super) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// All descendants of `pid`.
pub(super) fn descendants(pid: u32) -> io::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for child in proc::pids()? {
        if let Some(stat) = proc::stat(child)?.filter(|stat| !stat.is_dead) {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    Ok(found)
}

//! Which process is meant: its number and the instant at which it began, since the kernel gives numbers again.

use super::folder::State;
use crate::proc;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// A process, for as long as it lives and never another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub pid: u32,
    /// When it began, in clock ticks since boot (proc(5), field 22 of `stat`).
    pub began: u64,
}

impl Identity {
    /// The process that has that number now.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(proc::stat(pid)?.map(|stat| Identity { pid, began: stat.began }))
    }

    /// Whether it still runs. One that only waits to be reaped does not.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        Ok(proc::stat(self.pid)?.is_some_and(|stat| stat.began == self.began && !stat.is_dead))
    }

    /// Whether it is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.is_alive(), Ok(false))
    }

    /// Sends it a signal. The descriptor is opened before the identity is checked, so it cannot be another process's.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        if let Some(pidfd) = self.pidfd()? {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
        Ok(())
    }

    /// A descriptor of it (pidfd_open(2)), if it still runs; it becomes readable when the process ends.
    pub(super) fn pidfd(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = raw(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(self.is_alive()?.then_some(pidfd)),
            // The number is nobody's any more, or a thread's by now.
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

/// What runs of an instance of which nothing is noted: its shim, and the program that a shim started that was killed
/// before it noted it. A program is known by its name for itself together with its place below `releases`, which is this
/// host's alone.
pub(super) fn unnoted(folder: &Path, releases: &Path, name: &str) -> io::Result<Vec<Identity>> {
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

/// The strings of a file of a process, in which each is ended by a 0.
fn strings(pid: u32, file: &str) -> io::Result<Vec<String>> {
    let bytes = proc::read(pid, file)?.unwrap_or_default();
    Ok(bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// The process of an instance's id.
pub(super) fn pid_of(id: &str) -> Option<Identity> {
    let (pid, began) = id.split_once(':')?;
    Some(Identity { pid: pid.parse().ok()?, began: began.parse().ok()? })
}

/// Kills a process just seen to be one of an instance's own; it may have ended by itself meanwhile.
pub(super) fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

pub(super) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The processes of an instance: its main one, and all that came of it or of its shim. What double-forks is the shim's
/// child again, because that is a subreaper (prctl(2)).
pub(super) fn tree(state: &State) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    if state.main.is_alive()? {
        all.push(state.main.pid);
        all.extend(descendants(state.main.pid)?);
    }
    if state.shim.is_alive()? {
        all.extend(descendants(state.shim.pid)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// All processes below `pid`.
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

//! Which process is meant: its number and the instant at which it began, since the kernel gives numbers again.

use super::folder::State;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A process, for as long as it lives and never another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub pid: u32,
    /// When it began, in clock ticks since boot (proc(5), field 22 of `stat`).
    pub began: u64,
}

/// What `/proc/PID/stat` says of a process.
struct Stat {
    parent: u32,
    began: u64,
    is_dead: bool,
}

impl Identity {
    /// The process that has that number now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid)?;
        Some(Identity { pid, began: stat.began })
    }

    /// Whether it still runs. One that only waits to be reaped does not.
    pub(super) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.began == self.began && !stat.is_dead)
    }

    /// Sends it a signal. The descriptor is opened before the identity is checked, so it cannot be another process's.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pidfd) = self.pidfd() {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
    }

    /// A descriptor of it (pidfd_open(2)); it becomes readable when the process ends.
    pub(super) fn pidfd(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        self.is_alive().then_some(pidfd)
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
pub(super) fn unnoted(folder: &Path, releases: &Path, name: &str) -> Vec<Identity> {
    let mut found = Vec::new();
    let variable = format!("GAPLESS_INSTANCE={name}");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = strings(&entry.path().join("cmdline"));
        let is_kept = |path: &Path| path.starts_with(releases);
        let is_shim = || words.iter().any(|word| Path::new(word) == folder);
        let is_program = || {
            let is_ours = words.iter().any(|word| is_kept(Path::new(word)))
                || fs::read_link(entry.path().join("exe")).is_ok_and(|program| is_kept(&program));
            is_ours && strings(&entry.path().join("environ")).contains(&variable)
        };
        if pid != std::process::id() && (is_shim() || is_program()) {
            found.extend(Identity::of(pid).filter(Identity::is_alive));
        }
    }
    found
}

/// The strings of a file in which each is ended by a 0.
fn strings(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
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
pub(super) fn tree(state: &State) -> Vec<u32> {
    let mut roots = Vec::new();
    if state.main.is_alive() {
        roots.push(state.main.pid);
    }
    if state.shim.is_alive() {
        roots.extend(descendants(state.shim.pid));
    }
    let mut all: Vec<_> = roots.iter().flat_map(|root| descendants(*root)).chain(roots.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// All processes below `pid`.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let child = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((child, stat)) = child.and_then(|child| Some((child, stat(child)?)))
            && !stat.is_dead
        {
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
    found
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what follows its end is counted from field 3.
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

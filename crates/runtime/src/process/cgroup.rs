//! Control groups: limits on an instance, and all of its processes in one group. Where this user may not write control
//! groups there are no limits, and `gapless doctor` reports that.

use crate::proc;
use gapless_core::InstanceName;
use gapless_core::spec::Resources;
use std::path::{Path, PathBuf};
use std::{fs, io};

const ROOT: &str = "/sys/fs/cgroup";
/// The period of processor shares, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// This host uses the unified hierarchy (version 2).
fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The limits that this host enforces, for `gapless doctor`.
pub(super) fn describe() -> &'static str {
    let probe = if is_unified() { Path::new(ROOT).to_owned() } else { Path::new(ROOT).join("memory") };
    let is_writable = rustix::fs::access(&probe, rustix::fs::Access::WRITE_OK).is_ok();
    match (is_writable, is_unified()) {
        (true, true) => "memory and processor limits by cgroup v2",
        (true, false) => "memory limits by cgroup v1, no processor limits",
        (false, _) => "no limits: this user may not create control groups",
    }
}

/// Moves this process, and with it all its later children, into a new group with those limits; `None` if that is
/// impossible.
pub(super) fn enter(name: &InstanceName, resources: &Resources) -> Option<PathBuf> {
    let parent = if is_unified() { Path::new(ROOT).join("gapless") } else { Path::new(ROOT).join("memory/gapless") };
    let group = parent.join(name.to_string());
    fs::create_dir_all(&group).ok()?;
    if is_unified() {
        for folder in [Path::new(ROOT), &parent] {
            // Already enabled, or not available: then there are no limits, but still a group.
            let _ = fs::write(folder.join("cgroup.subtree_control"), "+memory +cpu +pids");
        }
        set(&group, "memory.max", resources.memory_bytes);
        set(&group, "memory.swap.max", resources.memory_bytes.map(|_| 0));
        let quota = resources.cpu_millis.map(|millis| format!("{} {CPU_PERIOD_US}", millis * CPU_PERIOD_US / 1000));
        set(&group, "cpu.max", quota);
    } else {
        set(&group, "memory.limit_in_bytes", resources.memory_bytes);
        set(&group, "memory.memsw.limit_in_bytes", resources.memory_bytes);
    }
    fs::write(group.join("cgroup.procs"), "0").ok()?;
    Some(group)
}

fn set(group: &Path, file: &str, value: Option<impl ToString>) {
    if let Some(value) = value
        && let Err(error) = fs::write(group.join(file), value.to_string())
    {
        eprintln!("the limit {file} is not enforced: {error}");
    }
}

/// How many processes of the group the kernel has killed for memory.
pub(super) fn out_of_memory_kills(group: &Path) -> u64 {
    let texts =
        ["memory.events", "memory.oom_control"].iter().filter_map(|file| fs::read_to_string(group.join(file)).ok());
    let texts: Vec<_> = texts.collect();
    let mut lines = texts.iter().flat_map(|text| text.lines());
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// Freezes or thaws the group; `false` if it has no freezer. The result must be the same for both: a group without a
/// freezer is stopped by signals, and resumes only by signals.
pub(super) fn set_frozen(group: &Path, is_frozen: bool) -> io::Result<bool> {
    let value = if is_frozen { "1" } else { "0" };
    if !is_unified() {
        return Ok(false);
    }
    match fs::write(group.join("cgroup.freeze"), value) {
        Err(error) if proc::is_shortage(&error) => Err(error),
        written => Ok(written.is_ok()),
    }
}

/// Kills all processes of the group, where the kernel supports that.
pub(super) fn kill(group: &Path) {
    let _ = fs::write(group.join("cgroup.kill"), "1");
}

/// Removes the empty group.
pub(super) fn remove(group: &Path) {
    let _ = fs::remove_dir(group);
}

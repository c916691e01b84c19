//! What the kernel tells of processes (proc(5)).
//!
//! All of it fails where this process is short of something, of file descriptors above all: then nothing is known, and above
//! all not that a process has ended.

use rustix::io::Errno;
use std::{fs, io};

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process that it is a child of.
    pub parent: u32,
    /// When it began, in clock ticks since boot: together with its number that is this process and no other one.
    pub began: u64,
    /// Whether it only waits to be reaped.
    pub is_dead: bool,
}

/// The numbers of all processes.
///
/// # Errors
/// If that cannot be told.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// What is known of a process; nothing where it has ended.
///
/// # Errors
/// If that cannot be told.
pub fn stat(pid: u32) -> io::Result<Option<Stat>> {
    Ok(read(pid, "stat")?.and_then(|text| parse(&String::from_utf8_lossy(&text))))
}

/// What a file of a process says; nothing where the process has ended, or is not ours to look at.
///
/// # Errors
/// If that cannot be told.
pub fn read(pid: u32, file: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{pid}/{file}")) {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

/// Whether a look failed for want of something that this process, or the host, has too little of: it says nothing of what
/// was to be looked at.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

fn parse(stat: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything: what follows its end is counted from field 3.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

//! Reads processes from the kernel (proc(5)).
//!
//! A read fails if this process lacks a resource, above all file descriptors. A failed read is never evidence that a
//! process has ended.

use rustix::io::Errno;
use std::{fs, io};

/// A process in `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The id of the parent process.
    pub parent: u32,
    /// The start time in clock ticks since boot; together with the id it identifies the process.
    pub began: u64,
    /// The process is a zombie.
    pub is_dead: bool,
}

/// The ids of all processes.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// The state of a process; `None` if it has ended.
///
/// # Errors
/// If the file cannot be read.
pub fn stat(pid: u32) -> io::Result<Option<Stat>> {
    Ok(read(pid, "stat")?.and_then(|text| parse(&String::from_utf8_lossy(&text))))
}

/// A file of a process; `None` if the process has ended, or this user may not read it.
///
/// # Errors
/// If the file cannot be read.
pub fn read(pid: u32, file: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{pid}/{file}")) {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

/// The error means that this process or the host lacks a resource, and says nothing about the inspected process.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

fn parse(stat: &str) -> Option<Stat> {
    // The name, in parentheses, may contain anything: the fields after it start with field 3.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

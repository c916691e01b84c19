//! The memory and files of processes and folders, as the kernel reports them.

use std::fs;
use std::path::Path;

/// The resource usage of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Anonymous resident memory, in KiB: mapped files do not count.
    pub memory_kib: u64,
    /// Open files, including sockets.
    pub open_files: u64,
}

impl Usage {
    /// The current usage of a process, if it exists.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // proc_pid_status(5): "RssAnon:     1234 kB".
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let memory_kib = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        let open_files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Usage { memory_kib, open_files })
    }

    /// The maximum of each figure.
    #[must_use]
    pub fn most(self, other: Usage) -> Usage {
        Usage { memory_kib: self.memory_kib.max(other.memory_kib), open_files: self.open_files.max(other.open_files) }
    }
}

/// The number of files below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) => 1,
        // Removed since it was listed.
        Err(_) => 0,
    };
    entries.map(count).sum()
}

//! What processes and folders take, as the system tells it.

use std::fs;
use std::path::Path;

/// What a process takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is resident and its own, in KiB: files that are mapped do not count.
    pub memory_kib: u64,
    /// Open files, sockets among them.
    pub open_files: u64,
}

impl Usage {
    /// What that process takes now; nothing if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // proc_pid_status(5): "RssAnon:     1234 kB".
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let memory_kib = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        let open_files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Usage { memory_kib, open_files })
    }

    /// The greater one of each.
    #[must_use]
    pub fn most(self, other: Usage) -> Usage {
        Usage { memory_kib: self.memory_kib.max(other.memory_kib), open_files: self.open_files.max(other.open_files) }
    }
}

/// How many files there are below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) => 1,
        // Gone since it was listed.
        Err(_) => 0,
    };
    entries.map(count).sum()
}

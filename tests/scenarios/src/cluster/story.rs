//! The story of a run: its events with their times.

use std::sync::Mutex;
use std::time::Instant;

/// Events with their times.
pub(super) struct Story {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

impl Story {
    pub(super) fn new() -> Story {
        Story { began: Instant::now(), lines: Mutex::new(Vec::new()) }
    }

    /// Adds a line.
    pub(super) fn log(&self, line: impl AsRef<str>) {
        let line = format!("{:7.3} s  {}", self.began.elapsed().as_secs_f64(), line.as_ref());
        self.lines.lock().expect("no thread panicked with the lock").push(line);
    }

    /// The lines.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into_inner().expect("no thread panicked with the lock")
    }
}

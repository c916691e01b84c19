//! What a build with failpoints is asked for, and what it tells: a folder that every process under test looks at (see
//! `gapless_effect`).

use gapless_harness::system;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a process may take to come to a place, and to be gone.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// The folder.
pub(super) struct Faults(PathBuf);

impl Faults {
    pub(super) fn at(folder: &Path) -> Self {
        Faults(folder.to_owned())
    }

    /// From now on is noted who comes where.
    pub(super) fn trace(&self) {
        fs::write(self.0.join("trace"), "").expect("a file can be written");
    }

    /// How often each place was come to since then.
    pub(super) fn traced(&self) -> BTreeMap<String, u32> {
        let text = fs::read_to_string(self.0.join("trace")).expect("it was written");
        let _ = fs::remove_file(self.0.join("trace"));
        let mut counts = BTreeMap::new();
        text.lines().for_each(|place| *counts.entry(place.to_owned()).or_default() += 1);
        counts
    }

    /// Forgets what has struck before.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Asks for it: `PLACE FAULT SKIP`.
    pub(super) fn arm(&self, case: &str) {
        fs::write(self.0.join("armed.new"), case).expect("a file can be written");
        fs::rename(self.0.join("armed.new"), self.0.join("armed")).expect("it can be renamed");
    }

    /// The process that was struck, and when; that nothing came there is wrong.
    pub(super) fn struck(&self, wrong: &mut Vec<String>) -> Option<(u32, SystemTime)> {
        let give_up_at = Instant::now() + DEADLINE;
        while Instant::now() < give_up_at {
            for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| name.strip_prefix("struck.")?.parse().ok());
                if let (Some(pid), Ok(file)) = (pid, entry.metadata()) {
                    let since =
                        Duration::new(file.ctime().unsigned_abs(), u32::try_from(file.ctime_nsec()).unwrap_or(0));
                    return Some((pid, SystemTime::UNIX_EPOCH + since));
                }
            }
            std::thread::sleep(POLL);
        }
        let _ = fs::remove_file(self.0.join("armed"));
        wrong.push("nothing came there".to_owned());
        None
    }
}

/// Waits for the end of a process that was killed: nothing is looked at before.
pub(super) fn wait_until_gone(pid: u32) {
    let give_up_at = Instant::now() + DEADLINE;
    while system::is_alive(pid) && Instant::now() < give_up_at {
        std::thread::sleep(POLL);
    }
}

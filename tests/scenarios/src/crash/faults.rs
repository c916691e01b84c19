//! The control folder of a build with failpoints: requested faults, and reports of injected ones. Every process under
//! test reads it (see `gapless_effect`).

use gapless_harness::system;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The maximum time until a process reaches a place, and until a killed process is gone.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// The control folder.
pub(super) struct Faults(PathBuf);

impl Faults {
    pub(super) fn at(folder: &Path) -> Self {
        Faults(folder.to_owned())
    }

    /// Starts to record the visits of all places.
    pub(super) fn trace(&self) {
        fs::write(self.0.join("trace"), "").expect("the file can be written");
    }

    /// The number of visits of each place since [`Faults::trace`].
    pub(super) fn traced(&self) -> BTreeMap<String, u32> {
        let text = fs::read_to_string(self.0.join("trace")).expect("the file was written");
        let _ = fs::remove_file(self.0.join("trace"));
        let mut counts = BTreeMap::new();
        text.lines().for_each(|place| *counts.entry(place.to_owned()).or_default() += 1);
        counts
    }

    /// Removes the reports of earlier faults.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Requests a fault: `PLACE FAULT SKIP`.
    pub(super) fn arm(&self, case: &str) {
        fs::write(self.0.join("armed.new"), case).expect("the file can be written");
        fs::rename(self.0.join("armed.new"), self.0.join("armed")).expect("the file can be renamed");
    }

    /// The process with the injected fault, and the time of the injection; a place that no process reaches is a
    /// problem.
    pub(super) fn injected(&self, wrong: &mut Vec<String>) -> Option<(u32, SystemTime)> {
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
        wrong.push("no process reached the place".to_owned());
        None
    }
}

/// Waits for the exit of a killed process: inspections before the exit prove nothing.
pub(super) fn wait_until_gone(pid: u32) {
    let give_up_at = Instant::now() + DEADLINE;
    while system::is_alive(pid) && Instant::now() < give_up_at {
        std::thread::sleep(POLL);
    }
}

//! Power loss: all that a real server, its proxy and its processes write is recorded; of that the disk is made as it can be
//! if the power goes at any moment; and each such image is opened.

mod content;
mod disk;
mod history;
mod judge;
mod record;
mod restart;
mod trace;

pub use disk::{Lie, Names};
pub use record::{Counts, Recording, record};
pub use restart::restart;
pub use trace::Syncs;

use crate::chance::Chance;
use disk::Disk;
use judge::Judge;
use std::fs;
use std::path::{Path, PathBuf};

/// How the power is cut.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many images are made, all over the recording.
    pub images: u64,
    /// The seed of all chance.
    pub seed: u64,
    /// What the disk lies about, if it does.
    pub lie: Option<Lie>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Images.
    pub images: u64,
    /// Those in which something was not as it should be.
    pub violated: u64,
    /// What was not as it should be, with the moment and the seed.
    pub violations: Vec<String>,
}

/// Cuts the power so many times, all over the recording.
#[must_use]
pub fn cut(recording: &Recording, settings: Settings) -> Outcome {
    let judge = Judge::new(recording);
    let mut chance = Chance::new(settings.seed);
    let mut outcome = Outcome::default();
    let mut disks = [Names::Loose, Names::Journal].map(|names| (names, Disk::new(names, settings.lie)));
    let moments = recording.events.len() as u64 + 1;
    let folder = Folder::new();
    for moment in 0..moments {
        // The same number at each moment, but for what is left by the division.
        let due = settings.images * (moment + 1) / moments - settings.images * moment / moments;
        for _ in 0..due {
            let (names, disk) = chance.one_of(&disks);
            let image = disk.image(&mut chance);
            let events = usize::try_from(moment).unwrap_or(usize::MAX);
            let wrong = judge.judge(&image, events, folder.emptied());
            outcome.images += 1;
            outcome.violated += u64::from(!wrong.is_empty());
            let place = format!("seed {}, image {}, after {events} events, {names:?}", settings.seed, outcome.images);
            outcome.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
        }
        if let Some(event) = usize::try_from(moment).ok().and_then(|at| recording.events.get(at)) {
            disks.iter_mut().for_each(|(_, disk)| disk.take(event));
        }
    }
    outcome
}

/// A folder that images are written to, one after the other; in memory, where there is room.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Folder(made.expect("a temporary folder can be made"))
    }

    fn emptied(&self) -> &Path {
        for entry in fs::read_dir(self.0.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("it can be removed");
        }
        self.0.path()
    }
}

/// All files below a folder, without sockets.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

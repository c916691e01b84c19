//! Cuts the power at moments all over a recording and judges each image of the disk.

use super::disk::{Disk, Lie, Names};
use super::judge::Judge;
use super::record::Recording;
use gapless_harness::Rng;
use std::fs;
use std::path::Path;

/// The parameters of the power cuts.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The number of images, spread over the recording.
    pub images: u64,
    /// The seed.
    pub seed: u64,
    /// The lie of the disk, if it lies.
    pub lie: Option<Lie>,
}

/// The result of the power cuts.
#[derive(Debug, Clone, Default)]
pub struct CutReport {
    /// Images.
    pub images: u64,
    /// Images with a problem.
    pub violated: u64,
    /// The problems, with moment and seed.
    pub violations: Vec<String>,
}

/// Cuts the power as often as configured, spread over the recording.
#[must_use]
pub fn cut(recording: &Recording, settings: Settings) -> CutReport {
    let judge = Judge::new(recording);
    let mut chance = Rng::new(settings.seed);
    let mut report = CutReport::default();
    let mut disks = [Names::Loose, Names::Journal].map(|names| (names, Disk::new(names, settings.lie)));
    let moments = recording.events.len() as u64 + 1;
    let folder = Folder::new();
    for moment in 0..moments {
        // The same number at each moment, except for the remainder of the division.
        let due = settings.images * (moment + 1) / moments - settings.images * moment / moments;
        for _ in 0..due {
            let (names, disk) = chance.one_of(&disks);
            let image = disk.image(&mut chance);
            let events = usize::try_from(moment).unwrap_or(usize::MAX);
            let wrong = judge.judge(&image, events, folder.emptied());
            report.images += 1;
            report.violated += u64::from(!wrong.is_empty());
            let place = format!("seed {}, image {}, after {events} events, {names:?}", settings.seed, report.images);
            report.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
        }
        if let Some(event) = usize::try_from(moment).ok().and_then(|at| recording.events.get(at)) {
            disks.iter_mut().for_each(|(_, disk)| disk.take(event));
        }
    }
    report
}

/// A folder for images, one after another; in memory if there is room.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Folder(made.expect("a temporary folder can be created"))
    }

    fn emptied(&self) -> &Path {
        for entry in fs::read_dir(self.0.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("the file can be removed");
        }
        self.0.path()
    }
}

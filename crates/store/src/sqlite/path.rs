//! Paths beside the state file, and durable renames.

use gapless_effect::{Point, step};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The path whose name is that of `path` with `ending` appended.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The folder that `path` is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Renames the finished file `from` to `to`, durably.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    step(Point::StateSync, || File::open(from)?.sync_all())?;
    step(Point::StateRename, || fs::rename(from, to))?;
    step(Point::StateFolder, || File::open(folder(to))?.sync_all())
}

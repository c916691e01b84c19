//! Paths in the recorded folder.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the server, its proxy and its processes.
pub(super) const STATE: &str = "state";
/// The proxy's table.
pub(super) const TABLE: &str = "state/routes.json";

/// All files below a folder, without sockets.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
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

//! The files in a folder and its subfolders whose names match a pattern.

use crate::path;
use std::path::{Path, PathBuf};

/// The maximum depth of folders: symbolic links can form a cycle.
const DEPTH: usize = 32;

/// The files, sorted by path.
///
/// # Errors
/// If a folder cannot be read or the pattern is malformed.
pub fn files(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if depth < DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if path::matches(pattern, &name).map_err(|error| error.to_string())? {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

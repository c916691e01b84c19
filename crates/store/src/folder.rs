//! Folders that survive a power loss.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Creates a missing folder and its missing parents, readable by the owner alone, and makes them durable: by POSIX a
/// synced file is lost if the folder's own name, an entry of the parent, was not synced.
///
/// # Errors
/// If the folder cannot be created or synced.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing = folder.ancestors().take_while(|folder| !folder.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    // Also syncs a folder that exists: the process that created it may have been killed before its sync.
    for parent in folder.ancestors().skip(1).take(missing.max(1)) {
        match File::open(parent).and_then(|parent| parent.sync_all()) {
            // The folder existed; its parents may be on another disk or belong to another user.
            Err(_) if missing == 0 => {}
            synced => synced?,
        }
    }
    Ok(())
}

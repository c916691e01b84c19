//! Folders that are there after a power loss.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder where there is none, and those above it, for their owner alone and durably: by the rules of POSIX what
/// is synced in a folder is lost with the folder's own name, which its parent has.
///
/// # Errors
/// If it cannot be made, or not be synced.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing = folder.ancestors().take_while(|folder| !folder.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    // Also of a folder that was there: who made it may have been killed before this.
    for parent in folder.ancestors().skip(1).take(missing.max(1)) {
        match File::open(parent).and_then(|parent| parent.sync_all()) {
            // It was there; what is above it may be another disk, or somebody else's.
            Err(_) if missing == 0 => {}
            synced => synced?,
        }
    }
    Ok(())
}

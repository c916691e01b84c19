//! Exclusive use: one server on one state file. The lock is the kernel's on an open file, so it is gone with the
//! process that held it, however that ended, and nobody ever unlocks by hand.

use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock of the state file `path`, which is the file `path.lock` beside it.
pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
    let refuse = |why: String| StoreError::Open { place: path.display().to_string(), why };
    let lock_path = super::beside(path, ".lock");
    let io = |error: std::io::Error| {
        refuse(format!(
            "the lock file {} cannot be written ({error}); give its folder to the user that the server runs as",
            lock_path.display()
        ))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; a holder that has not written its number yet is just not named.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(refuse(format!(
                "another gapless server{holder} uses it; stop that one first, or give this one another state folder"
            )));
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(Lock { _file: file })
}

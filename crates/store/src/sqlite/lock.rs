//! Exclusive use: one server on one state file. The lock is the kernel's on an open file, so it is gone with the
//! process that held it, however that ended, and nobody ever unlocks by hand.

use super::trouble::advice_io;
use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a lock may outlive its process: a program that it was just starting has the open file until it is
/// executed. Also the time that a server may take to end while the next one starts.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait between two tries; the kernel does not tell.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing frees it only if no child has the file open that has not been executed yet; this frees it at once.
        let _ = self.file.unlock();
    }
}

/// Takes the lock of the state file `path`, which is the file `path.lock` beside it.
pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
    let refuse = |why: String| StoreError::Open { place: path.display().to_string(), why };
    let lock_path = super::beside(path, ".lock");
    let io = |error: std::io::Error| {
        refuse(format!("the lock file {} cannot be written: {}", lock_path.display(), advice_io(&error)))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io)?;
    match try_for_a_while(&file) {
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
    // Again only for the message, and no reason to fail on a full disk.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock { file })
}

fn try_for_a_while(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
            other => return other,
        }
    }
}

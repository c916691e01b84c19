//! Exclusive use: one server per state file. The kernel's lock on an open file ends with its process, however that
//! ends, so nobody unlocks by hand.

use super::error::advice_io;
use super::path::beside;
use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a lock may outlive its process: a child between fork and exec still has the file open. Also the time that a
/// server may take to end while the next server starts.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two attempts; the kernel sends no notification.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock; dropping it releases it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A close alone would not release the lock while a child between fork and exec has the file open.
        let _ = self.file.unlock();
    }
}

/// Takes the lock of the state file `path`: the file `path.lock` beside it.
pub(super) fn acquire(path: &Path) -> Result<Lock, StoreError> {
    let refuse = |why: String| StoreError::Open { place: path.display().to_string(), why };
    let lock_path = beside(path, ".lock");
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
    match lock_with_retries(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // For the message only; an owner that has not written its process id yet is not named.
            let _ = file.read_to_string(&mut owner);
            let owner = match owner.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(refuse(format!(
                "another gapless server{owner} uses it; stop that server first, or choose another state folder"
            )));
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    // For the message only: no reason to fail on a full disk.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock { file })
}

fn lock_with_retries(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
            other => return other,
        }
    }
}

//! Copies the state file while it is in use, by SQLite's online backup: all of one revision, complete or absent.

use super::error::{advice, advice_io};
use super::path::{beside, rename_durably};
use crate::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The suffix of an unfinished backup.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Writes the copy `to` of the state file `from`; replaces an earlier file of that name.
pub(super) fn write(from: &Path, to: &Path) -> Result<(), StoreError> {
    let fail = |why: String| StoreError::Unavailable { place: from.display().to_string(), why };
    let io = |error: io::Error| fail(format!("the backup {} cannot be written: {}", to.display(), advice_io(&error)));
    // Compares inodes: a file can have several names. The file must not be opened here, see `open::check_header`.
    let original = fs::metadata(from).map_err(io)?;
    if fs::metadata(to).is_ok_and(|copy| (copy.dev(), copy.ino()) == (original.dev(), original.ino())) {
        return Err(fail("a backup cannot be written over the state file itself; name another file".to_owned()));
    }
    let unfinished = beside(to, UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(io)?;
    let copied = copy(from, &unfinished)
        .map_err(|error| fail(format!("the backup {} cannot be written: {}", to.display(), advice(&error))));
    let placed = copied.and_then(|()| rename_durably(&unfinished, to).map_err(io));
    if placed.is_err() {
        // Frees the space; if this fails too, the next backup removes the file.
        let _ = fs::remove_file(&unfinished);
    }
    placed
}

/// Copies over a connection of its own, so that commits continue; in one step, so that commits cannot restart the copy.
fn copy(from: &Path, to: &Path) -> Result<(), rusqlite::Error> {
    let source =
        Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(Duration::from_secs(5))?;
    let backup = Backup::new(&source, &mut copy)?;
    match backup.step(-1)? {
        StepResult::Done => {}
        // The busy timeout has already waited within the step.
        _ => return Err(busy()),
    }
    drop(backup);
    copy.close().map_err(|(_, error)| error)
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

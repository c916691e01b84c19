//! A copy of the state file while it is in use, by SQLite's online backup: all of one revision, whole or not there.

use super::trouble::{advice, advice_io};
use super::{beside, open};
use crate::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// What ends the name of a backup that is being written.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Writes the copy `to` of the state file `from`, in place of an earlier one of that name.
pub(super) fn write(from: &Path, to: &Path) -> Result<(), StoreError> {
    let fail = |why: String| StoreError::Unavailable { place: from.display().to_string(), why };
    let io = |error: io::Error| fail(format!("the backup {} cannot be written: {}", to.display(), advice_io(&error)));
    // By number, not by name: one file can have several. It must not be opened here, see `open::examine`.
    let original = fs::metadata(from).map_err(io)?;
    if fs::metadata(to).is_ok_and(|copy| (copy.dev(), copy.ino()) == (original.dev(), original.ino())) {
        return Err(fail("a backup cannot be written over the state itself; name another file".to_owned()));
    }
    let unfinished = beside(to, UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(io)?;
    let copied = copy(from, &unfinished)
        .map_err(|error| fail(format!("the backup {} cannot be written: {}", to.display(), advice(&error))));
    let placed = copied.and_then(|()| open::put_in_place(&unfinished, to).map_err(io));
    if placed.is_err() {
        // The space is better given back; if this fails, too, the next backup removes it.
        let _ = fs::remove_file(&unfinished);
    }
    placed
}

/// By a connection of its own, so that commits go on meanwhile; in one step, so that they cannot make it begin again.
fn copy(from: &Path, to: &Path) -> Result<(), rusqlite::Error> {
    let source =
        Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(Duration::from_secs(5))?;
    let backup = Backup::new(&source, &mut copy)?;
    match backup.step(-1)? {
        StepResult::Done => {}
        // Waiting is done by the busy timeout within the step.
        _ => return Err(busy()),
    }
    drop(backup);
    copy.close().map_err(|(_, error)| error)
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

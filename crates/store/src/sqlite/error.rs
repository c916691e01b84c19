//! Errors of the state file as messages for people: the cause and the remedy.

use super::path::beside;
use crate::StoreError;
use rusqlite::ErrorCode;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// An error below the level of [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// An error from SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A record whose checksum does not match.
    #[error("{0}")]
    Damaged(String),
    /// An error that is already in its final form.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FileError {
    /// The file itself is damaged, so a retry is useless.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            FileError::Damaged(_) => true,
            FileError::Sqlite(
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..),
            ) => true,
            FileError::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            FileError::Store(_) => false,
        }
    }

    /// The disk is full.
    pub(super) fn is_full_disk(&self) -> bool {
        matches!(self, FileError::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// SQLite has no code for this error.
    pub(super) fn is_unnamed(&self) -> bool {
        matches!(self, FileError::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown))
    }

    /// The error of a request to an open store.
    pub(super) fn while_running(self, place: &str) -> StoreError {
        let why = match self {
            FileError::Store(error) => return error,
            error if error.is_damage() => format!(
                "the file is damaged ({error}); stop the server and restore a backup to that path. \
                 Requests are still being served"
            ),
            FileError::Damaged(why) => why,
            FileError::Sqlite(error) if is_read_only(Path::new(place)) => format!(
                "its disk has become read-only, as the kernel does when a disk fails; find the cause in the kernel's \
                 log (`dmesg`), fix it and mount the disk again ({error}). Requests are still being served"
            ),
            FileError::Sqlite(error) => format!("{}. Later requests are retried", advice(&error)),
        };
        StoreError::Unavailable { place: place.to_owned(), why }
    }
}

/// Probes if the file system is read-only: SQLite does not say why a write failed, and the flags of the mount do not
/// show that the kernel has made a failing file system read-only.
fn is_read_only(file: &Path) -> bool {
    let probe = beside(file, ".probe");
    match OpenOptions::new().write(true).create(true).truncate(true).open(&probe) {
        Ok(_) => {
            // The file is empty, and the next probe overwrites it.
            let _ = fs::remove_file(&probe);
            false
        }
        Err(error) => error.kind() == io::ErrorKind::ReadOnlyFilesystem,
    }
}

/// The cause and the remedy, for errors that are not damage.
pub(super) fn advice(error: &rusqlite::Error) -> String {
    let next = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            return "the disk is full; free some space on it".to_owned();
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the disk gave an input/output error; check the kernel's log (`dmesg`), and that the disk \
             is neither full nor failing"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program, such as a `sqlite3` shell, has locked the file; close that program"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "the file or its folder is not writable; give them to the user that the server runs as, and check that \
             the disk is not mounted read-only"
        }
        _ => "this error is not expected; see the server's log",
    };
    format!("{next} ({error})")
}

/// The cause and the remedy of an I/O error outside SQLite.
pub(super) fn advice_io(error: &io::Error) -> String {
    let next = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on the disk",
        io::ErrorKind::ReadOnlyFilesystem => "mount the disk writable, or choose a folder on another disk",
        _ => "give its folder to the user that the server runs as, or choose another folder",
    };
    format!("{error}; {next}")
}

#[cfg(test)]
mod tests {
    use super::{advice, advice_io};
    use rusqlite::ffi;
    use std::io::{self, ErrorKind};

    #[test]
    fn advice_matches_the_code_of_sqlite() {
        for (code, what) in [
            (ffi::SQLITE_FULL, "free some space"),
            (ffi::SQLITE_IOERR, "check the kernel's log"),
            (ffi::SQLITE_BUSY, "close that program"),
            (ffi::SQLITE_LOCKED, "close that program"),
            (ffi::SQLITE_READONLY, "give them to the user"),
            (ffi::SQLITE_CANTOPEN, "give them to the user"),
            (ffi::SQLITE_MISUSE, "see the server's log"),
        ] {
            let message = advice(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn advice_matches_the_kind_of_io_error() {
        for (kind, advice) in [
            (ErrorKind::StorageFull, "free some space"),
            (ErrorKind::QuotaExceeded, "free some space"),
            (ErrorKind::ReadOnlyFilesystem, "mount the disk writable"),
            (ErrorKind::PermissionDenied, "give its folder to the user"),
        ] {
            let message = advice_io(&io::Error::from(kind));
            assert!(message.contains(advice), "{message}");
        }
    }
}

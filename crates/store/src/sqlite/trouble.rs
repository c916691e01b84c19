//! What can go wrong with the file, told to a person: what happened, why, and what to do.

use super::beside;
use crate::StoreError;
use rusqlite::ErrorCode;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// An error below the level of [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A record is not as it was written.
    #[error("{0}")]
    Damaged(String),
    /// Something the caller can be told as it is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Trouble {
    /// Whether the file itself is damaged, so that trying again is of no use.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Trouble::Damaged(_) => true,
            Trouble::Sqlite(
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..),
            ) => true,
            Trouble::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            Trouble::Store(_) => false,
        }
    }

    /// Whether there is no space.
    pub(super) fn is_full_disk(&self) -> bool {
        matches!(self, Trouble::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// Whether SQLite has no code for it.
    pub(super) fn is_unnamed(&self) -> bool {
        matches!(self, Trouble::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown))
    }

    /// The error of a request to a store that is open.
    pub(super) fn while_running(self, place: &str) -> StoreError {
        let why = match self {
            Trouble::Store(error) => return error,
            trouble if trouble.is_damage() => format!(
                "the file is damaged ({trouble}); stop the server and restore a backup to that path. \
                 Routes go on being served meanwhile"
            ),
            Trouble::Damaged(why) => why,
            Trouble::Sqlite(error) if is_read_only(Path::new(place)) => format!(
                "its disk has become read-only, as the kernel makes one that fails; look for why in the kernel's log \
                 (`dmesg`), mend it and mount it anew ({error}). Routes go on being served meanwhile"
            ),
            Trouble::Sqlite(error) => format!("{}. Later requests are tried anew", advice(&error)),
        };
        StoreError::Unavailable { place: place.to_owned(), why }
    }
}

/// Whether nothing can be written there any more: SQLite does not say why it cannot, and the flags of the mount do not
/// tell of a file system that the kernel has given up.
fn is_read_only(file: &Path) -> bool {
    let probe = beside(file, ".probe");
    match OpenOptions::new().write(true).create(true).truncate(true).open(&probe) {
        Ok(_) => {
            // It is empty, and written over by the next one.
            let _ = fs::remove_file(&probe);
            false
        }
        Err(error) => error.kind() == io::ErrorKind::ReadOnlyFilesystem,
    }
}

/// What happened and what to do, for errors that are not damage.
pub(super) fn advice(error: &rusqlite::Error) -> String {
    let next = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            return "the disk is full; free some space on it".to_owned();
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the disk gave an input/output error; look for it in the kernel's log (`dmesg`), and check that the disk \
             is neither full nor failing"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program, such as a `sqlite3` shell, holds the file locked; close it there"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "the file or its folder cannot be written; give them to the user that the server runs as, and check that \
             the disk is not mounted read-only"
        }
        _ => "this is not expected; the server's log says more",
    };
    format!("{next} ({error})")
}

/// The same for files that are not SQLite's.
pub(super) fn advice_io(error: &io::Error) -> String {
    let next = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on the disk",
        io::ErrorKind::ReadOnlyFilesystem => "mount the disk writable, or name a folder on another",
        _ => "give its folder to the user that the server runs as, or name another",
    };
    format!("{error}; {next}")
}

#[cfg(test)]
mod tests {
    use super::{advice, advice_io};
    use rusqlite::ffi;
    use std::io::{self, ErrorKind};

    #[test]
    fn what_to_do_depends_on_what_sqlite_says() {
        for (code, what) in [
            (ffi::SQLITE_FULL, "free some space"),
            (ffi::SQLITE_IOERR, "look for it in the kernel's log"),
            (ffi::SQLITE_BUSY, "close it there"),
            (ffi::SQLITE_LOCKED, "close it there"),
            (ffi::SQLITE_READONLY, "give them to the user"),
            (ffi::SQLITE_CANTOPEN, "give them to the user"),
            (ffi::SQLITE_MISUSE, "the server's log says more"),
        ] {
            let told = advice(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert!(told.contains(what), "{told}");
        }
    }

    #[test]
    fn what_to_do_about_a_file_depends_on_what_is_wrong() {
        for (kind, advice) in [
            (ErrorKind::StorageFull, "free some space"),
            (ErrorKind::QuotaExceeded, "free some space"),
            (ErrorKind::ReadOnlyFilesystem, "mount the disk writable"),
            (ErrorKind::PermissionDenied, "give its folder to the user"),
        ] {
            let told = advice_io(&io::Error::from(kind));
            assert!(told.contains(advice), "{told}");
        }
    }
}

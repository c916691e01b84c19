//! Opens the state file, or creates it whole or not at all. An invalid file is rejected with a remedy, and an empty
//! state never replaces a lost one.

use super::backup;
use super::error::{FileError, advice, advice_io};
use super::path::{beside, folder, rename_durably};
use super::records::Records;
use super::schema;

use crate::StoreError;
use gapless_effect::{Point, step};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long SQLite waits for another program, such as a `sqlite3` shell, to release the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The size in bytes that SQLite truncates the log to when it restarts the log.
const LOG_BYTES_KEPT: u32 = 16 << 20;

/// Bytes of the log that are rewritten at once.
const REWRITE_BYTES: usize = 64 << 10;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The length of the header of a SQLite file.
const HEADER_BYTES: usize = 100;

/// The offset of `application_id` in the header of a SQLite file.
const APPLICATION_ID_AT: usize = 68;

/// Creates the folder of the state file, for its owner alone, if it is missing.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder(path);
    crate::make_folder(folder).map_err(|error| {
        refuse(path, format!("its folder {} cannot be created: {}", folder.display(), advice_io(&error)))
    })
}

/// Opens or creates the state file. The caller has the lock.
pub(super) fn open(path: &Path) -> Result<Records, StoreError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(refuse(path, format!("it cannot be inspected: {error}"))),
        Ok(_) => {
            check_header(path)?;
            rewrite_log(&beside(path, "-wal")).map_err(|error| refuse(path, advice_io(&error)))?;
        }
    }
    let mut connection = connect(path).map_err(|error| explain(path, error))?;
    check_version(path, &connection)?;
    check_structure(&connection).map_err(|error| explain(path, error))?;
    migrate_and_checkpoint(path, &mut connection)?;
    Records::load(connection).map_err(|error| explain(path, error))
}

/// Creates a new state file under another name and renames it when it is complete, so that a crash here leaves nothing
/// that resembles a damaged state.
fn create(path: &Path) -> Result<(), StoreError> {
    if beside(path, "-wal").exists() {
        return Err(refuse(
            path,
            format!(
                "its log {} exists, but the file itself is gone; {}, or remove the log to start without any history",
                beside(path, "-wal").display(),
                restore(path)
            ),
        ));
    }
    let new = beside(path, ".new");
    let io = |error: io::Error| refuse(path, format!("it cannot be created: {}", advice_io(&error)));
    for leftover in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm"), beside(&new, "-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    step(Point::StateCreate, make).map_err(io)?;
    let write = || -> Result<(), FileError> {
        let mut connection = connect(&new)?;
        schema::migrate(&mut connection)?;
        checkpoint(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    step(Point::StateWrite, || Ok(write())).map_err(io)?.map_err(|error| explain(path, error))?;
    rename_durably(&new, path).map_err(io)
}

/// Checks the file without SQLite, which would accept an empty file as a new database.
///
/// Closes the file before SQLite opens it: closing any descriptor of the file drops SQLite's own locks on it.
fn check_header(path: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| refuse(path, format!("it cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(refuse(path, "it is not a regular file; name a file in the state folder".to_owned()));
    }
    let mut header = Vec::new();
    File::open(path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header)).map_err(io)?;
    if header.is_empty() {
        return Err(refuse(
            path,
            format!("it is empty, and gapless never leaves an empty state file; {}", restore(path)),
        ));
    }
    if header.len() < HEADER_BYTES && MAGIC.starts_with(header.get(..16).unwrap_or(&header)) {
        return Err(refuse(path, format!("it is damaged: it ends after {} bytes; {}", header.len(), restore(path))));
    }
    if header.get(..16) != Some(MAGIC) {
        return Err(refuse(
            path,
            format!("it is not a state file of gapless, or its header is damaged; {}", restore(path)),
        ));
    }
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4).and_then(|bytes| bytes.try_into().ok());
    if id.map(i32::from_be_bytes).map(i64::from) != Some(schema::APPLICATION_ID) {
        return Err(refuse(
            path,
            "it is the database of another program; name another file, or move this file away".to_owned(),
        ));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| {
            refuse(
                path,
                format!(
                    "other users can read it, and its mode cannot be changed ({error}); give it to the server's user"
                ),
            )
        })?;
    }
    Ok(())
}

/// Rewrites the log and syncs it. Data that an earlier process failed to sync is still in the page cache, and the
/// kernel counts it as written: SQLite would copy it into the file, and a power loss meanwhile would leave half of it
/// in the file without a log to complete it.
fn rewrite_log(log: &Path) -> io::Result<()> {
    let rewritten = OpenOptions::new().read(true).write(true).open(log).and_then(|log| {
        let (mut buffer, mut at) = (vec![0; REWRITE_BYTES], 0);
        loop {
            match log.read_at(&mut buffer, at)? {
                0 => return log.sync_data(),
                count => {
                    log.write_all_at(&buffer[..count], at)?;
                    at += count as u64;
                }
            }
        }
    });
    match rewritten {
        // A full disk, on which even a rewrite needs space, is no reason to reject the existing state.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => Ok(()),
        other => other,
    }
}

fn connect(path: &Path) -> Result<Connection, FileError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Open {
            place: path.display().to_string(),
            why: format!(
                "its file system does not allow a write-ahead log (the journal mode stays {mode:?}); use a local disk"
            ),
        }
        .into());
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The worker copies the log into the file between commits, not within them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(connection)
}

fn check_version(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let version = schema::version(connection).map_err(|error| explain(path, error))?;
    if version > schema::SCHEMA {
        return Err(refuse(
            path,
            format!(
                "a newer gapless wrote it (schema {version}; this gapless supports up to {}); \
                 start the newer gapless, or {}",
                schema::SCHEMA,
                restore(path)
            ),
        ));
    }
    if version < 1 {
        return Err(refuse(path, format!("it is damaged: it has no schema number; {}", restore(path))));
    }
    Ok(())
}

fn check_structure(connection: &Connection) -> Result<(), FileError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(FileError::Damaged(found)) }
}

/// Migrates the file to the current schema, after a backup of the old one, and empties its log.
fn migrate_and_checkpoint(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let version = schema::version(connection).map_err(|error| explain(path, error))?;
    if version < schema::SCHEMA {
        backup::write(path, &beside(path, &format!(".backup-schema-{version}")))?;
        schema::migrate(connection).map_err(|error| explain(path, error))?;
    }
    // Data that an earlier process failed to sync can be in the page cache but not on the disk: commits that follow it
    // in the log would be lost with it. A checkpoint copies it into the file and syncs it.
    match checkpoint(connection) {
        // The checkpoint may wait until there is space: the log is as durable as the file.
        Err(error) if error.is_full_disk() => {
            tracing::warn!(place = %path.display(), "checkpoint failed: the disk is full; free some space on it");
            Ok(())
        }
        other => other.map_err(|error| explain(path, error)),
    }
}

/// Copies the log into the file, syncs it and empties the log. Waits, up to the busy timeout, for other readers, and
/// leaves the part that they still need.
fn checkpoint(connection: &Connection) -> Result<(), FileError> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Copies as much of the log into the file as is possible without waiting. If that is everything, SQLite writes the log
/// from its beginning again.
pub(super) fn checkpoint_passive(connection: &Connection) -> Result<(), FileError> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

fn refuse(path: &Path, why: String) -> StoreError {
    StoreError::Open { place: path.display().to_string(), why }
}

/// The error for a file that cannot be opened: the cause and the remedy.
fn explain(path: &Path, error: FileError) -> StoreError {
    match error {
        FileError::Store(error) => error,
        // SQLite has no error code for a file that it cannot parse when it opens it.
        error if error.is_damage() || error.is_unnamed() => {
            refuse(path, format!("it is damaged ({error}); {}", restore(path)))
        }
        FileError::Sqlite(error) => refuse(path, advice(&error)),
        FileError::Damaged(why) => refuse(path, why),
    }
}

/// The remedy for an unusable file: restore the newest backup beside it, by the time of its last change.
fn restore(path: &Path) -> String {
    let newest = newest_backup(path);
    let from = newest.map_or_else(|| "a backup".to_owned(), |backup| format!("the backup {}", backup.display()));
    format!("move it away together with its -wal file, and copy {from} to its place")
}

fn newest_backup(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let is_backup = |file: &fs::DirEntry| {
        file.file_name()
            .to_str()
            .and_then(|other| other.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(".backup") && !rest.ends_with(backup::UNFINISHED))
    };
    fs::read_dir(folder(path))
        .ok()?
        .filter_map(Result::ok)
        .filter(is_backup)
        .max_by_key(|file| file.metadata().and_then(|metadata| metadata.modified()).ok())
        .map(|file| file.path())
}

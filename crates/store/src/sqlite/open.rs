//! Opening the state file: refused with what to do where it is not what it should be, created whole or not at all, and
//! never started empty in the place of one that was there.

use super::records::Records;
use super::schema;
use super::trouble::{Trouble, advice, advice_io};
use super::{backup, beside};
use crate::StoreError;
use gapless_effect::{Point, step};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long SQLite waits for another program, such as a `sqlite3` shell, to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The size that the log is cut to when it is written from its beginning again.
const LOG_BYTES_KEPT: u32 = 16 << 20;

/// How many bytes of the log are written again at once.
const REWRITTEN_AT_ONCE: usize = 64 << 10;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The length of the header of a SQLite file.
const HEADER_BYTES: usize = 100;

/// Where the header of a SQLite file has its `application_id`.
const APPLICATION_ID_AT: usize = 68;

/// Makes the folder of the state file, for its owner alone, where there is none.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let folder = super::folder(path);
    crate::make_folder(folder)
        .map_err(|error| refuse(path, format!("its folder {} cannot be made: {}", folder.display(), advice_io(&error))))
}

/// Opens the state file, or makes it. The caller holds the lock.
pub(super) fn open(path: &Path) -> Result<Records, StoreError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(refuse(path, format!("it cannot be looked at: {error}"))),
        Ok(_) => {
            examine(path)?;
            write_again(&beside(path, "-wal")).map_err(|error| refuse(path, advice_io(&error)))?;
        }
    }
    let mut connection = connect(path).map_err(|trouble| explain(path, trouble))?;
    check_version(path, &connection)?;
    check_structure(&connection).map_err(|trouble| explain(path, trouble))?;
    bring_up_to_date(path, &mut connection)?;
    Records::load(connection).map_err(|trouble| explain(path, trouble))
}

/// Makes a new state file under another name and renames it when it is whole, so that a crash here leaves nothing that
/// looks like a damaged state.
fn create(path: &Path) -> Result<(), StoreError> {
    if beside(path, "-wal").exists() {
        return Err(refuse(
            path,
            format!(
                "its log {} is there, but the file itself is gone; {}, or remove the log to start without any history",
                beside(path, "-wal").display(),
                restore(path)
            ),
        ));
    }
    let new = beside(path, ".new");
    let io = |error: io::Error| refuse(path, format!("it cannot be made: {}", advice_io(&error)));
    for leftover in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm"), beside(&new, "-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    step(Point::StateCreate, make).map_err(io)?;
    let write = || -> Result<(), Trouble> {
        let mut connection = connect(&new)?;
        schema::migrate(&mut connection)?;
        checkpoint(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    step(Point::StateWrite, || Ok(write())).map_err(io)?.map_err(|trouble| explain(path, trouble))?;
    put_in_place(&new, path).map_err(io)
}

/// Gives the finished file `from` the name `to`, durably.
pub(super) fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    step(Point::StateSync, || File::open(from)?.sync_all())?;
    step(Point::StateRename, || fs::rename(from, to))?;
    step(Point::StateFolder, || File::open(super::folder(to))?.sync_all())
}

/// Looks at the file without SQLite, which would take an empty one for a new one.
///
/// It is closed again before SQLite opens it: closing any descriptor of the file drops SQLite's own locks on it.
fn examine(path: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| refuse(path, format!("it cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(refuse(path, "it is not a file; name a file in the state folder".to_owned()));
    }
    let mut header = Vec::new();
    File::open(path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header)).map_err(io)?;
    if header.is_empty() {
        return Err(refuse(path, format!("it is empty, which gapless never leaves it; {}", restore(path))));
    }
    if header.len() < HEADER_BYTES && MAGIC.starts_with(header.get(..16).unwrap_or(&header)) {
        return Err(refuse(path, format!("it is damaged: it ends after {} bytes; {}", header.len(), restore(path))));
    }
    if header.get(..16) != Some(MAGIC) {
        return Err(refuse(
            path,
            format!("it is not a state file of gapless, or its beginning is damaged; {}", restore(path)),
        ));
    }
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4).and_then(|bytes| bytes.try_into().ok());
    if id.map(i32::from_be_bytes).map(i64::from) != Some(schema::APPLICATION_ID) {
        return Err(refuse(
            path,
            "it is the database of another program; name another file, or move that one away".to_owned(),
        ));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| {
            refuse(
                path,
                format!("others can read it, and that cannot be changed ({error}); give it to the server's user"),
            )
        })?;
    }
    Ok(())
}

/// What an earlier process failed to sync looks whole in the page cache, and the system takes it for written: SQLite would
/// copy it into the file, and if the power went meanwhile, half of it would be there and no log to finish it by. Written
/// again it is synced again.
fn write_again(log: &Path) -> io::Result<()> {
    let rewritten = OpenOptions::new().read(true).write(true).open(log).and_then(|log| {
        let (mut buffer, mut at) = (vec![0; REWRITTEN_AT_ONCE], 0);
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
        // A disk that has to find space even for this is no reason to refuse what is there.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => Ok(()),
        other => other,
    }
}

fn connect(path: &Path) -> Result<Connection, Trouble> {
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
    // The log is copied back into the file between commits, not within them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(connection)
}

fn check_version(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let version = schema::version(connection).map_err(|trouble| explain(path, trouble))?;
    if version > schema::SCHEMA {
        return Err(refuse(
            path,
            format!(
                "it was written by a newer gapless (schema {version}; this one knows up to {}); \
                 start that gapless, or {}",
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

fn check_structure(connection: &Connection) -> Result<(), Trouble> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Trouble::Damaged(found)) }
}

/// Takes the file to the present schema, after a copy of it as it is, and empties its log.
fn bring_up_to_date(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let version = schema::version(connection).map_err(|trouble| explain(path, trouble))?;
    if version < schema::SCHEMA {
        backup::write(path, &beside(path, &format!(".backup-schema-{version}")))?;
        schema::migrate(connection).map_err(|trouble| explain(path, trouble))?;
    }
    // What an earlier process failed to sync can be in the page cache, look whole, and not be on the disk: later
    // commits behind it in the log would be lost with it. Copied into the file and synced, it is there for good.
    match checkpoint(connection) {
        // There need not be space for that in order to go on; the log is as good as the file.
        Err(trouble) if trouble.is_full_disk() => {
            tracing::warn!(place = %path.display(), "the disk is full; free some space on it");
            Ok(())
        }
        other => other.map_err(|trouble| explain(path, trouble)),
    }
}

/// Copies the log into the file, syncs it and empties the log. Waits, up to the busy timeout, for other programs that
/// read, and leaves them the rest.
fn checkpoint(connection: &Connection) -> Result<(), Trouble> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Copies as much of the log into the file as can be copied without waiting for anybody; where that was all, the log is
/// written from its beginning again.
pub(super) fn checkpoint_in_passing(connection: &Connection) -> Result<(), Trouble> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

fn refuse(path: &Path, why: String) -> StoreError {
    StoreError::Open { place: path.display().to_string(), why }
}

/// Why a file could not be opened, with what to do.
fn explain(path: &Path, trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Store(error) => error,
        // A file that SQLite cannot make sense of is an error without a name to it, when it is opened.
        trouble if trouble.is_damage() || trouble.is_unnamed() => {
            refuse(path, format!("it is damaged ({trouble}); {}", restore(path)))
        }
        Trouble::Sqlite(error) => refuse(path, advice(&error)),
        Trouble::Damaged(why) => refuse(path, why),
    }
}

/// What to do where the file is of no use: the newest backup that stands beside it, by name.
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
    fs::read_dir(super::folder(path))
        .ok()?
        .filter_map(Result::ok)
        .filter(is_backup)
        .max_by_key(|file| file.metadata().and_then(|metadata| metadata.modified()).ok())
        .map(|file| file.path())
}

//! Files that a store must not open: damaged, truncated, foreign, newer. The store rejects them with a remedy, leaves
//! them unchanged, and never replaces them by an empty state. Files of older versions are migrated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_store::{Range, SqliteStore, Store, StoreError, Txn};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// Creates a state with small and large values and a history, and closes its file.
async fn some_state(folder: &Path) -> (PathBuf, Range) {
    let path = folder.join("state.db");
    let store = SqliteStore::open(&path).unwrap();
    for n in 0..60 {
        let txn = Txn::new().put(format!("/apps/{n:02}"), format!("{{\"live\":\"blue\",\"n\":{n}}}"));
        store.commit(txn.put("/large", vec![n; 9000])).await.unwrap();
    }
    store.commit(Txn::new().delete("/apps/07")).await.unwrap();
    let range = store.range("").await.unwrap();
    drop(store);
    (path, range)
}

fn refused(path: &Path) -> String {
    let before = fs::read(path).ok();
    match SqliteStore::open(path) {
        Err(StoreError::Open { place, why }) => {
            assert_eq!(place, path.display().to_string());
            assert_eq!(fs::read(path).ok(), before, "a rejected file is unchanged");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn flipped_bits_are_rejected_or_harmless_at_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let (path, range) = some_state(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    let (mut refusals, mut tried) = (0, 0);
    // The whole header, then bytes all over the file.
    for at in (0..100).chain((100..whole.len()).step_by(1499)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        tried += 1;
        match SqliteStore::open(&path) {
            Err(StoreError::Open { why, .. }) => {
                assert!(why.contains("damaged") || why.contains("another program") || why.contains("newer"), "{why}");
                refusals += 1;
            }
            Err(other) => panic!("at {at}: {other:?}"),
            // The bit was in unused space, or in one of SQLite's counters.
            Ok(store) => assert_eq!(store.range("").await.unwrap(), range, "at {at}"),
        }
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", path.display()));
        }
    }
    assert!(refusals * 2 > tried, "only {refusals} of {tried} were detected");
    fs::write(&path, &whole).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().range("").await.unwrap(), range);
}

#[tokio::test]
async fn flipped_bit_in_a_value_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"\"live\":\"blue\",\"n\":33";
    let found: Vec<usize> =
        bytes.windows(needle.len()).enumerate().filter(|(_, w)| w == needle).map(|(at, _)| at).collect();
    assert!(found.len() >= 2, "the value is in the entry and in its history");
    for at in found {
        bytes[at + needle.len() - 1] ^= 1; // 33 becomes 32, a valid value to SQLite
        fs::write(&path, &bytes).unwrap();
        let why = refused(&path);
        assert!(why.contains("not as it was written"), "{why}");
        bytes[at + needle.len() - 1] ^= 1;
    }
}

/// Checksums are verified on every read, not only on opening; all other reads continue.
#[tokio::test]
async fn damage_of_an_open_file_is_reported_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let store = SqliteStore::open(&path).unwrap();
    // By another program that knows nothing of checksums.
    let other = Connection::open(&path).unwrap();
    assert_eq!(other.execute("UPDATE entries SET value = x'00' WHERE key = '/apps/33'", []).unwrap(), 1);
    match store.get("/apps/33").await {
        Err(StoreError::Unavailable { place, why }) => {
            assert_eq!(place, path.display().to_string());
            assert!(why.contains("damaged") && why.contains("restore a backup"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(store.get("/apps/34").await.unwrap().is_some());
}

/// SQLite would later allocate such a page twice.
#[tokio::test]
async fn damage_outside_of_records_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let mut bytes = fs::read(&path).unwrap();
    // The number of free pages: https://sqlite.org/fileformat.html#the_database_header
    bytes[39] = bytes[39].wrapping_add(1);
    fs::write(&path, &bytes).unwrap();
    let why = refused(&path);
    assert!(why.contains("damaged"), "{why}");
}

/// Every record has a valid checksum, but the records are from two different states.
#[tokio::test]
async fn record_of_a_later_state_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let later = folder.path().join("later.db");
    fs::copy(&path, &later).unwrap();
    let store = SqliteStore::open(&later).unwrap();
    store.commit(Txn::new().put("/later", "x")).await.unwrap();
    drop(store);
    let both = Connection::open(&path).unwrap();
    both.execute("ATTACH ? AS later", [later.to_str().unwrap()]).unwrap();
    both.execute("INSERT INTO entries SELECT * FROM later.entries WHERE key = '/later'", []).unwrap();
    both.close().unwrap();
    let why = refused(&path);
    assert!(why.contains("newer than the last revision"), "{why}");
}

#[tokio::test]
async fn file_locked_by_another_program_is_not_reported_as_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, range) = some_state(folder.path()).await;
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("another program") && !error.contains("damaged"), "{error}");
    drop(other);
    assert_eq!(SqliteStore::open(&path).unwrap().range("").await.unwrap(), range);
}

#[tokio::test]
async fn truncated_file_is_rejected_at_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 15, 50, 99, 100, 512, 4095, 4096, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let why = refused(&path);
        assert!(why.contains("copy a backup to its place") || why.contains("move this file away"), "{length}: {why}");
    }
}

#[tokio::test]
async fn damaged_file_error_names_the_newest_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (path, range) = some_state(folder.path()).await;
    let backup = folder.path().join("state.db.backup-2");
    SqliteStore::open(&path).unwrap().backup(&backup).await.unwrap();
    fs::write(&path, b"SQLite format 3\0").unwrap();
    let why = refused(&path);
    assert!(why.contains(&format!("copy the backup {} to its place", backup.display())), "{why}");
    // The remedy in the message works.
    fs::rename(&path, folder.path().join("away")).unwrap();
    fs::copy(&backup, &path).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().range("").await.unwrap(), range);
}

#[tokio::test]
async fn open_fails_when_only_the_log_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(folder.path().join("state.db-wal"), b"whatever").unwrap();
    let why = refused(&path);
    assert!(why.contains("the file itself is gone") && why.contains("copy a backup"), "{why}");
    assert!(!path.exists());
}

#[test]
fn foreign_files_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "These are notes, longer than a header of one hundred bytes. ".repeat(4)).unwrap();
    assert!(refused(&text).contains("not a state file of gapless"));

    let database = folder.path().join("other.db");
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").unwrap();
    assert!(refused(&database).contains("the database of another program"));

    let why = refused(folder.path());
    assert!(why.contains("not a regular file"), "{why}");
    let why = refused(&text.join("state.db"));
    assert!(why.contains("its folder") && why.contains("cannot be created"), "{why}");
}

#[tokio::test]
async fn newer_schema_is_rejected_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let why = refused(&path);
    assert!(why.contains("newer gapless wrote it (schema 99; this gapless supports up to 2)"), "{why}");
}

/// A state in the first schema, as it may exist on users' disks. Must not be changed.
fn schema_1(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA application_id = 0x6761706c;
             CREATE TABLE entries (
                 key TEXT PRIMARY KEY,
                 value BLOB NOT NULL,
                 create_revision INTEGER NOT NULL,
                 mod_revision INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE history (
                 revision INTEGER NOT NULL,
                 position INTEGER NOT NULL,
                 key TEXT NOT NULL,
                 value BLOB,
                 create_revision INTEGER NOT NULL,
                 PRIMARY KEY (revision, position)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             INSERT INTO entries VALUES ('/a', x'31', 2, 4), ('/b', x'', 3, 3);
             INSERT INTO history VALUES (2, 0, '/a', x'30', 2), (3, 0, '/b', x'', 3), (3, 1, '/c', NULL, 0),
                 (4, 0, '/a', x'31', 2);
             INSERT INTO numbers VALUES ('revision', 4), ('compacted', 1);
             PRAGMA user_version = 1;",
        )
        .unwrap();
}

#[tokio::test]
async fn schema_1_is_migrated_after_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    schema_1(&path);
    for round in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        let range = store.range("").await.unwrap();
        let entries: Vec<_> = range
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_slice(), entry.create_revision, entry.mod_revision))
            .collect();
        assert_eq!(entries, [("/a", &b"1"[..], 2, 4), ("/b", &b""[..], 3, 3)], "round {round}");
        assert_eq!(range.revision, 4);
        let mut changes = store.watch("", 3).await.unwrap();
        let batch = futures_util::StreamExt::next(&mut changes).await.unwrap().unwrap();
        assert_eq!((batch.revision, batch.events.len()), (3, 2));
    }
    // The older gapless can use the copy.
    let copy = folder.path().join("state.db.backup-schema-1");
    let version: i64 =
        Connection::open(copy).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

//! Files that a store must not open: damaged, truncated, foreign, of the future. Refused with what to do, left as they
//! are, and never replaced by an empty state. Files of the past are migrated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_store::{Range, SqliteStore, Store, StoreError, Txn};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// A state with small and large values and a history, and its file closed and whole.
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
            assert_eq!(fs::read(path).ok(), before, "a file that is refused is left as it is");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn flipped_bits_are_refused_or_harmless_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (path, range) = some_state(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    let (mut refusals, mut tried) = (0, 0);
    // All of the header, then bytes all over the file.
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
    assert!(refusals * 2 > tried, "only {refusals} of {tried} were found");
    fs::write(&path, &whole).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().range("").await.unwrap(), range);
}

#[tokio::test]
async fn a_flipped_bit_in_a_value_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"\"live\":\"blue\",\"n\":33";
    let found: Vec<usize> =
        bytes.windows(needle.len()).enumerate().filter(|(_, w)| w == needle).map(|(at, _)| at).collect();
    assert!(found.len() >= 2, "in the entry and in its history");
    for at in found {
        bytes[at + needle.len() - 1] ^= 1; // 33 becomes 32, which is as good a value as any to SQLite
        fs::write(&path, &bytes).unwrap();
        let why = refused(&path);
        assert!(why.contains("not as it was written"), "{why}");
        bytes[at + needle.len() - 1] ^= 1;
    }
}

/// What is read is checked, not only what is opened; all else goes on being read.
#[tokio::test]
async fn damage_while_it_is_open_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let store = SqliteStore::open(&path).unwrap();
    // By somebody who knows nothing of checksums.
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

/// SQLite would give such pages to two things at once, later.
#[tokio::test]
async fn damage_that_no_record_shows_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let mut bytes = fs::read(&path).unwrap();
    // How many pages are free: https://sqlite.org/fileformat.html#the_database_header
    bytes[39] = bytes[39].wrapping_add(1);
    fs::write(&path, &bytes).unwrap();
    let why = refused(&path);
    assert!(why.contains("damaged"), "{why}");
}

/// Each record is as it was written, and they were not written together.
#[tokio::test]
async fn a_record_of_a_later_state_is_found() {
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
async fn a_file_that_another_program_holds_is_not_said_to_be_damaged() {
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
async fn a_truncated_file_is_refused_at_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 15, 50, 99, 100, 512, 4095, 4096, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let why = refused(&path);
        assert!(why.contains("copy a backup to its place") || why.contains("move that one away"), "{length}: {why}");
    }
}

#[tokio::test]
async fn the_message_about_a_damaged_file_names_the_newest_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (path, range) = some_state(folder.path()).await;
    let backup = folder.path().join("state.db.backup-2");
    SqliteStore::open(&path).unwrap().backup(&backup).await.unwrap();
    fs::write(&path, b"SQLite format 3\0").unwrap();
    let why = refused(&path);
    assert!(why.contains(&format!("copy the backup {} to its place", backup.display())), "{why}");
    // And what it says works.
    fs::rename(&path, folder.path().join("away")).unwrap();
    fs::copy(&backup, &path).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().range("").await.unwrap(), range);
}

#[tokio::test]
async fn a_log_without_its_file_is_not_a_new_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(folder.path().join("state.db-wal"), b"whatever").unwrap();
    let why = refused(&path);
    assert!(why.contains("the file itself is gone") && why.contains("copy a backup"), "{why}");
    assert!(!path.exists());
}

#[test]
fn files_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "These are notes, longer than a header of one hundred bytes. ".repeat(4)).unwrap();
    assert!(refused(&text).contains("not a state file of gapless"));

    let database = folder.path().join("other.db");
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").unwrap();
    assert!(refused(&database).contains("the database of another program"));

    let why = refused(folder.path());
    assert!(why.contains("not a file"), "{why}");
    let why = refused(&text.join("state.db"));
    assert!(why.contains("its folder") && why.contains("cannot be made"), "{why}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = some_state(folder.path()).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let why = refused(&path);
    assert!(why.contains("newer gapless (schema 99; this one knows up to 2)"), "{why}");
}

/// A state as the first schema had it. It is frozen: this is what there may be on somebody's disk.
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
async fn a_state_of_schema_1_is_migrated_and_kept_as_it_was_beside() {
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
    // The older gapless can go on from the copy.
    let copy = folder.path().join("state.db.backup-schema-1");
    let version: i64 =
        Connection::open(copy).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

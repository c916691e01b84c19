//! The store in a SQLite file: the conformance suite, and durability of acknowledged commits under kills at any moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod reexec;

use gapless_store::{SqliteStore, Store, StoreError, Txn, conformance};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn state_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state.db")
}

fn log_file(path: &Path) -> PathBuf {
    format!("{}-wal", path.display()).into()
}

#[tokio::test]
async fn sqlite_store_passes_conformance() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    let make = async || {
        count.set(count.get() + 1);
        SqliteStore::open(&folder.path().join(format!("{}.db", count.get()))).unwrap()
    };
    conformance::all(make, async |store, through| store.compact(through).await.unwrap()).await;
}

#[tokio::test]
async fn reopened_store_has_all_entries_and_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let before = {
        let store = SqliteStore::open(&path).unwrap();
        store.commit(Txn::new().put("/a", "1").put("/b", vec![0; 1 << 20])).await.unwrap();
        store.commit(Txn::new().put("/a", "2").delete("/b")).await.unwrap();
        store.commit(Txn::new().put("/b", "3")).await.unwrap();
        store.compact(1).await.unwrap();
        store.range("").await.unwrap()
    };
    assert_eq!(before.revision, 3);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.range("").await.unwrap(), before);
    let mut changes = store.watch("", 2).await.unwrap();
    let batch = futures_util::StreamExt::next(&mut changes).await.unwrap().unwrap();
    assert_eq!((batch.revision, batch.events.len()), (2, 2));
    let mut changes = store.watch("", 1).await.unwrap();
    let forgotten = futures_util::StreamExt::next(&mut changes).await.unwrap();
    assert_eq!(forgotten, Err(StoreError::Compacted { from: 1, oldest: 2 }));
}

#[tokio::test]
async fn state_file_becomes_private_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way/state.db");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = SqliteStore::open(&path).unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    for ending in ["", "-wal", "-shm", ".lock"] {
        let file = PathBuf::from(format!("{}{ending}", path.display()));
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn second_open_fails_until_first_store_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let first = SqliteStore::open(&path).unwrap();
    first.commit(Txn::new().put("/a", "1")).await.unwrap();
    // A watch that still exists does not keep the file locked.
    let watch = first.watch("", 0).await.unwrap();
    let error = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("another gapless server") && error.contains(&std::process::id().to_string()), "{error}");
    drop(first);
    let second = SqliteStore::open(&path).unwrap();
    assert_eq!(second.get("/a").await.unwrap().unwrap().value, b"1");
    drop(watch);
}

/// A child that a killed server was just starting keeps the server's open files for a moment.
#[test]
fn open_waits_for_a_lock_that_is_being_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    drop(SqliteStore::open(&path).unwrap());
    let lock = std::fs::File::open(format!("{}.lock", path.display())).unwrap();
    lock.try_lock().unwrap();
    let locker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(lock);
    });
    SqliteStore::open(&path).unwrap();
    locker.join().unwrap();
}

#[tokio::test]
async fn backup_is_a_complete_state_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (state_file(&folder), folder.path().join("copy.db"));
    let store = SqliteStore::open(&path).unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    store.backup(&copy).await.unwrap();
    let before = store.range("").await.unwrap();
    store.commit(Txn::new().put("/a", "2")).await.unwrap();

    let restored = SqliteStore::open(&copy).unwrap();
    assert_eq!(restored.range("").await.unwrap(), before);
    drop(restored);
    store.backup(&copy).await.unwrap();
    assert_eq!(SqliteStore::open(&copy).unwrap().range("").await.unwrap(), store.range("").await.unwrap());

    let over_itself = store.backup(&path).await.unwrap_err().to_string();
    assert!(over_itself.contains("over the state file itself"), "{over_itself}");
    let nowhere = store.backup(&folder.path().join("none/copy.db")).await.unwrap_err().to_string();
    assert!(nowhere.contains("none/copy.db cannot be written"), "{nowhere}");
    let leftovers: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("unfinished"))
        .collect();
    assert_eq!(leftovers, [""; 0]);
}

#[tokio::test]
async fn backup_has_one_revision_when_writes_continue() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&state_file(&folder)).unwrap();
    let copy = folder.path().join("copy.db");
    let is_copied = std::sync::atomic::AtomicBool::new(false);
    let writes = async {
        let mut n = 0;
        while n < 20 || !is_copied.load(std::sync::atomic::Ordering::Relaxed) {
            store.commit(Txn::new().put("/a", n.to_string()).put("/b", n.to_string())).await.unwrap();
            n += 1;
        }
    };
    let backup = async {
        store.backup(&copy).await.unwrap();
        is_copied.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(writes, backup);
    let copied = SqliteStore::open(&copy).unwrap().range("").await.unwrap();
    assert!(copied.entries.windows(2).all(|pair| pair[0].value == pair[1].value), "{copied:?}");
}

#[tokio::test]
async fn commits_do_not_wait_for_a_long_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let store = SqliteStore::open(&path).unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM entries;").unwrap();
    // More than fits into the log before a checkpoint, which cannot complete while another program reads.
    for n in 0..1200 {
        let start = Instant::now();
        store.commit(Txn::new().put("/a", n.to_string())).await.unwrap();
        let time = start.elapsed();
        assert!(time < Duration::from_secs(3), "commit {n} took {time:?}");
    }
}

#[tokio::test]
async fn watch_delivers_a_large_transaction_in_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&state_file(&folder)).unwrap();
    // One page of the history ends within the fourth value.
    for n in 0..8_u8 {
        let puts = (0..4).fold(Txn::new(), |txn, key| txn.put(format!("/{key}"), vec![n; 300 << 10]));
        store.commit(puts).await.unwrap();
    }
    let told = store.watch("", 1).await.unwrap();
    let told: Vec<_> = futures_util::StreamExt::collect(futures_util::StreamExt::take(told, 8)).await;
    let told: Vec<_> = told.into_iter().map(Result::unwrap).map(|batch| (batch.revision, batch.events.len())).collect();
    assert_eq!(told, (1..=8).map(|revision| (revision, 4)).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let store = SqliteStore::open(&path).unwrap();
    // 120 MiB of values, each replacing the value before, half of them by an earlier process.
    let mebibyte =
        async |store: &SqliteStore, n| store.commit(Txn::new().put("/large", vec![n; 1 << 20])).await.unwrap();
    for n in 0..60_u8 {
        mebibyte(&store, n).await;
    }
    // Each value is written twice: into the entries and into the history.
    let log = std::fs::metadata(log_file(&path)).unwrap().len();
    assert!(log < 90 << 20, "the log is not restarted: {log} bytes");
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    for n in 60..120_u8 {
        mebibyte(&store, n).await;
    }
    let mut changes = store.watch("", 1).await.unwrap();
    let oldest = futures_util::StreamExt::next(&mut changes).await.unwrap();
    assert!(matches!(oldest, Err(StoreError::Compacted { oldest, .. }) if oldest > 20), "{oldest:?}");
    drop(store);
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 110 << 20, "the file has {bytes} bytes");
}

/// A process that commits one key after the other and prints each acknowledgement.
fn start_writer(path: &Path) -> (Child, impl Iterator<Item = u64>) {
    let mut child = reexec::within(&[], "writer", path).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ").map(|n| n.parse().unwrap()));
    (child, acknowledged)
}

#[test]
#[ignore = "a child process of other tests"]
fn writer() {
    let Some(path) = reexec::path() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!(); // The test harness has printed the start of a line.
        let store = SqliteStore::open(&path).unwrap();
        let have = store.range("/n/").await.unwrap().entries.len() as u64;
        for n in have.. {
            let txn = Txn::new().expect(format!("/n/{n:06}"), 0).put(format!("/n/{n:06}"), vec![b'x'; 300]);
            store.commit(txn.put("/last", n.to_string())).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[tokio::test]
async fn acknowledged_commits_survive_kill_9_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let mut last = 0;
    for round in 0..12 {
        let (mut child, mut acknowledged) = start_writer(&path);
        // More each round, so that the kills fall before and after a checkpoint.
        let wanted = 1 + round * 40;
        for _ in 0..wanted {
            last = acknowledged.next().expect("the writer runs until it is killed");
        }
        if round == 0 {
            let error = SqliteStore::open(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("(process {})", child.id())), "{error}");
        }
        child.kill().unwrap();
        last = acknowledged.last().unwrap_or(last);
        child.wait().unwrap();

        let store = SqliteStore::open(&path).expect("the kernel has released the lock");
        assert_eq!(std::fs::metadata(log_file(&path)).unwrap().len(), 0, "the log has been copied into the file");
        let range = store.range("/n/").await.unwrap();
        let have = range.entries.len() as u64;
        assert!(have == last + 1 || have == last + 2, "acknowledged up to {last}, found {have}");
        for (n, entry) in range.entries.iter().enumerate() {
            assert_eq!(entry.key, format!("/n/{n:06}"), "there are no gaps");
        }
        assert_eq!(store.get("/last").await.unwrap().unwrap().value, (have - 1).to_string().into_bytes());
        assert_eq!(range.revision, have, "one revision each");
        last = have - 1;
    }
}

#[test]
fn kill_during_creation_leaves_a_file_that_opens() {
    // Many moments, from before the first system call to after the last.
    for step in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let path = state_file(&folder);
        let (mut child, acknowledged) = start_writer(&path);
        let deadline = Instant::now() + Duration::from_millis(step);
        while Instant::now() < deadline {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        drop(acknowledged);
        child.wait().unwrap();
        drop(SqliteStore::open(&path).unwrap());
    }
}

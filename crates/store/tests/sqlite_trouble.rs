//! A disk that is full, read-only or failing: said clearly, nothing acknowledged that is not there, and over when the
//! disk is well again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod reexec;

use gapless_store::{Range, SqliteStore, Store, StoreError, Txn};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A process in a mount namespace of its own, so that what it mounts is gone with it; also without being root, where
/// the kernel lets users have namespaces.
const NAMESPACE: [&str; 3] = ["unshare", "--mount", "--map-root-user"];

fn run_in_namespace(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = reexec::within(&NAMESPACE, test, folder.path())
        .output()
        .expect("this test needs `unshare` of util-linux, and to be root or allowed user namespaces");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("seen to the end"), "{text}");
}

fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status().expect("this test needs `mount`");
    assert!(status.success(), "this test needs to mount a tmpfs: be root, or allow user namespaces");
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Commits until one fails; what the store has then must be what was acknowledged.
async fn fill(store: &SqliteStore, first: u32) -> (StoreError, u32) {
    for n in first.. {
        let before = store.range("").await.unwrap();
        let txn = Txn::new().put(format!("/fill/{n:04}"), vec![n as u8; 50_000]).put("/last", n.to_string());
        if let Err(error) = store.commit(txn).await {
            assert_eq!(store.range("").await.unwrap(), before, "a failed change leaves nothing");
            return (error, n);
        }
        assert!(n < 10_000, "the disk never became full");
    }
    unreachable!()
}

fn reopened(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap()
}

#[test]
fn a_full_disk_is_an_error_that_passes_when_there_is_space_again() {
    run_in_namespace("on_a_full_disk");
}

#[test]
#[ignore = "a part of another test, in a namespace"]
fn on_a_full_disk() {
    let Some(folder) = reexec::path() else { return };
    mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &folder);
    block_on(async {
        let path = folder.join("state.db");
        std::fs::write(folder.join("ballast"), vec![0; 1 << 20]).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let (error, n) = fill(&store, 0).await;
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unavailable { .. }) && text.contains("the disk is full"), "{text}");
        let (error, _) = fill(&store, n).await;
        assert!(matches!(error, StoreError::Unavailable { .. }), "it stays an error: {error}");
        let backup = store.backup(&folder.join("state.db.backup")).await.unwrap_err();
        assert!(backup.to_string().contains("the disk is full"), "{backup}");

        std::fs::remove_file(folder.join("ballast")).unwrap();
        store.commit(Txn::new().expect("/after", 0).put("/after", "x")).await.expect("by itself, without a restart");
        let before: Range = store.range("").await.unwrap();
        drop(store);
        assert_eq!(reopened(&path).range("").await.unwrap(), before);

        // A full disk when the store is opened, and when it would be made.
        let full = std::fs::write(folder.join("ballast"), vec![0; 8 << 20]);
        assert!(full.is_err());
        match SqliteStore::open(&path) {
            Ok(store) => assert_eq!(store.range("").await.unwrap(), before, "there may be space enough to read"),
            Err(error) => assert!(error.to_string().contains("the disk is full; free some space"), "{error}"),
        }
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.join(format!("state.db{ending}")));
        }
        assert!(std::fs::write(folder.join("ballast"), vec![0; 8 << 20]).is_err());
        let new = SqliteStore::open(&folder.join("new.db")).unwrap_err().to_string();
        assert!(new.contains("full") || new.contains("No space left"), "{new}");
        std::fs::remove_file(folder.join("ballast")).unwrap();
        drop(SqliteStore::open(&folder.join("new.db")).expect("nothing half made is in the way"));
    });
    println!("seen to the end");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_what_to_do() {
    run_in_namespace("on_a_read_only_disk");
}

#[test]
#[ignore = "a part of another test, in a namespace"]
fn on_a_read_only_disk() {
    let Some(folder) = reexec::path() else { return };
    mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &folder);
    let path = folder.join("state.db");
    drop(SqliteStore::open(&path).unwrap());
    mount(&["-o", "remount,ro"], &folder);
    for path in [&path, &folder.join("new.db"), &folder.join("new/state.db")] {
        let error = SqliteStore::open(path).unwrap_err().to_string();
        assert!(error.contains("Read-only") && error.contains("mount the disk writable"), "{error}");
    }
    println!("seen to the end");
}

/// The kernel refuses writes beyond a file size: to SQLite that is an input/output error, not a full disk.
#[test]
fn an_input_output_error_is_an_error_that_passes_when_the_disk_is_well_again() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["bash", "-c", "trap '' XFSZ; ulimit -S -f 600; exec \"$0\" \"$@\""];
    let mut child = reexec::within(&limits, "under_a_file_size_limit", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.by_ref().find(|line| line.contains("failed: ")).expect("the writes must fail");
    assert!(said.contains("input/output error") && said.contains("dmesg"), "{said}");
    let pid = child.id().to_string();
    let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
    assert!(lifted.success());
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert!(lines.any(|line| line.contains("seen to the end")), "it must go on by itself");
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "a part of another test, under a limit"]
fn under_a_file_size_limit() {
    let Some(folder) = reexec::path() else { return };
    block_on(async {
        let path = folder.join("state.db");
        let store = SqliteStore::open(&path).unwrap();
        let (error, _) = fill(&store, 0).await;
        println!("failed: {error}");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        store.commit(Txn::new().put("/after", "x")).await.unwrap();
        let before = store.range("").await.unwrap();
        drop(store);
        assert_eq!(reopened(&path).range("").await.unwrap(), before);
    });
    println!("seen to the end");
}

/// Whoever was told that a change failed does not find it done after a restart, though it stood whole in the log.
#[test]
fn a15_a_change_that_could_not_be_synced_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = reexec::within(&[], "while_syncs_fail", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("ready")));
    let inject = "inject=fsync,fdatasync:error=EIO";
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync", "-e", inject, "-p", &child.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs `strace`");
    let mut said = BufReader::new(strace.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("attached")));
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let failed = lines.by_ref().find(|line| line.contains("failed: ")).expect("the sync must fail");
    assert!(failed.contains("input/output error"), "{failed}");
    assert!(!child.wait().unwrap().success(), "it ends without a goodbye");
    strace.wait().unwrap();
    assert!(said.any(|line| line.contains("INJECTED")));
    block_on(async {
        let store = reopened(&folder.path().join("state.db"));
        assert_eq!(store.get("/refused").await.unwrap(), None);
        assert_eq!(store.range("").await.unwrap().revision, 1);
        store.commit(Txn::new().put("/after", "x")).await.unwrap();
    });
}

#[test]
#[ignore = "a part of another test, whose syncs fail"]
fn while_syncs_fail() {
    let Some(folder) = reexec::path() else { return };
    block_on(async {
        let store = SqliteStore::open(&folder.join("state.db")).unwrap();
        store.commit(Txn::new().put("/before", "x")).await.unwrap();
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let large = Txn::new().put("/refused", vec![7; 20_000]);
        println!("failed: {}", store.commit(large).await.unwrap_err());
        std::process::abort();
    });
}

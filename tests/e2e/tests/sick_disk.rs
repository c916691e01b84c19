//! Disks that return errors, are full, become read-only, or damage their content: clear messages, no acknowledgement of
//! a change that is not recorded, an answer for every request, and recovery by itself once the disk works.

use gapless_core::{Deployment, Phase};
use gapless_harness::deps::disk::{self, FailingSyscalls};
use gapless_harness::{App, CommandResult, Host, Runtime, free_port, wait_for};
use gapless_harness::{ExcusingLoad, TestHost};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RATE_PER_S: u32 = 80;
const DEADLINE: Duration = Duration::from_secs(30);

fn app() -> App {
    App {
        deploy: "observe = \"1s\"\nkeep_warm = \"10m\"\npark = true\n".to_owned(),
        tables: "[environments.production]\nhosts = [\"production.example\", \"127.0.0.1\", \"localhost\"]\n"
            .to_owned(),
        ..App::new("sick", Runtime::Process)
    }
}

fn history(test_host: &TestHost) -> Vec<Deployment> {
    test_host.gapless.json(["history", "--json", "-n", "50"])
}

/// Checks that commands are refused while nothing can be recorded, with the reason and the next step.
fn is_refused(test_host: &mut TestHost, says: &[&str]) {
    let before = (history(test_host), test_host.views());
    test_host.build();
    for command in [["deploy", "--force"].as_slice(), &["rollback"], &["maintenance", "on"], &["stop"]] {
        let ran = test_host.gapless.run(command);
        assert!(ran.code != 0 && says.iter().all(|text| ran.stderr.contains(text)), "{command:?}: {ran:?}");
    }
    let doctor = test_host.gapless.run(["doctor"]);
    assert!(doctor.code != 0 && says.iter().all(|text| doctor.stdout.contains(text)), "{doctor:?}");
    assert_eq!(history(test_host), before.0, "nothing is recorded");
    assert_eq!(test_host.views().len(), before.1.len(), "queries are still answered");
}

/// Checks that the server recovers without help and without a restart, and that the next deployment succeeds.
fn recovers(test_host: &mut TestHost, load: Option<ExcusingLoad>, server: Option<u32>) {
    assert_eq!(test_host.settle(), Vec::<String>::new());
    test_host.build();
    test_host.gapless.ok(["deploy", "--force"]);
    assert_eq!(test_host.settle(), Vec::<String>::new());
    if server.is_some() {
        assert_eq!(test_host.host.server_pid(), server, "the server was not restarted");
    }
    if let Some(load) = load {
        wait_for("requests were sent all the time", DEADLINE, || (load.requests() > 100).then_some(()));
        let seen = load.stop();
        assert!(seen.requests > 100 && seen.failed.is_empty(), "{seen:?}");
    }
}

fn pids(test_host: &TestHost) -> Vec<u32> {
    let info = test_host.host.server_info();
    [Some(info.pid), info.planes[0].pid].into_iter().flatten().collect()
}

/// A host with two deployments, so that a rollback is possible.
fn test_host(host: Option<Host>) -> TestHost {
    let mut test_host = match host {
        Some(host) => TestHost::on(host, app()),
        None => TestHost::new(app(), None, &[]),
    };
    test_host.build();
    test_host.gapless.ok(["deploy", "--force"]);
    assert_eq!(test_host.settle(), Vec::<String>::new());
    test_host
}

/// Failure mode A15.
#[test]
fn nothing_is_acknowledged_while_syncs_fail() {
    let mut test_host = test_host(None);
    let server = test_host.host.server_pid();
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    let failing = FailingSyscalls::start(&pids(&test_host), "fsync,fdatasync", "EIO");
    is_refused(&mut test_host, &["input/output error", "dmesg"]);
    assert!(failing.count() >= 4, "{} calls failed", failing.count());
    drop(failing);
    recovers(&mut test_host, Some(load), server);
}

/// Failure mode A15.
#[test]
fn refused_change_is_absent_after_restart() {
    let mut test_host = test_host(None);
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    let failing = FailingSyscalls::start(&pids(&test_host), "fsync,fdatasync", "EIO");
    let before = history(&test_host);
    test_host.build();
    assert_ne!(test_host.gapless.run(["deploy", "--force"]).code, 0);
    test_host.host.kill_server();
    drop(failing);
    assert_eq!(test_host.settle(), Vec::<String>::new());
    assert_eq!(history(&test_host), before);
    recovers(&mut test_host, Some(load), None);
}

/// A running deployment survives failing writes, syncs and length changes.
///
/// Failure mode A15.
#[test]
fn running_deployment_waits_for_failing_disk_and_finishes() {
    let mut test_host = test_host(None);
    let server = test_host.host.server_pid();
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    test_host.build();
    test_host.gapless.ok(["deploy", "--force", "--detach"]);
    wait_for("the release is observed", DEADLINE, || {
        history(&test_host).first().filter(|it| matches!(it.phase, Phase::Observing)).map(drop)
    });
    let failing = FailingSyscalls::start(&pids(&test_host), "pwrite64,fsync,fdatasync,ftruncate", "EIO");
    let says = |text: &str| test_host.host.log().contains(text).then_some(());
    wait_for("the server reports the failure", DEADLINE, || says("application is not controlled: "));
    drop(failing);
    wait_for("the server reports the recovery", DEADLINE, || {
        says("application is controlled again: the state can be used")
    });
    wait_for("the deployment has ended", DEADLINE, || {
        history(&test_host).first().filter(|it| it.phase.is_end()).map(drop)
    });
    assert_eq!(history(&test_host)[0].phase.name(), "succeeded");
    recovers(&mut test_host, Some(load), server);
}

fn small_host(folder: &Path, mount: &[&str]) -> Host {
    let host = Host::at(folder, SocketAddr::from(([127, 0, 0, 1], free_port())));
    disk::mount(mount, &folder.join("state"));
    host
}

/// Failure mode A16.
#[test]
fn full_disk_is_reported_and_recovers() {
    disk::in_namespace("namespaced_full_disk");
}

#[test]
#[ignore = "a part of another test, in a namespace"]
fn namespaced_full_disk() {
    let folder = disk::namespace_folder().expect("another test runs this one");
    let mut test_host = test_host(Some(small_host(&folder, &["-t", "tmpfs", "-o", "size=1g", "tmpfs"])));
    let server = test_host.host.server_pid();
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    let ballast = folder.join("state/ballast");
    disk::fill(&ballast);
    test_host.build();
    // Until the log has used up its preallocated space, changes can still be recorded, and then they are valid.
    let full = wait_for("the disk is full", DEADLINE, || {
        let ran = test_host.gapless.run(["maintenance", "off"]);
        let deploy = test_host.gapless.run(["deploy", "--force"]);
        [ran, deploy]
            .into_iter()
            .find(|ran| ran.stderr.contains("the disk is full"))
            .map(|ran: CommandResult| ran.stderr)
    });
    assert!(full.contains("free some space"), "{full}");
    fs::remove_file(&ballast).expect("the file can be removed");
    wait_for("no deployment is running", DEADLINE, || {
        history(&test_host).iter().all(|it| it.phase.is_end()).then_some(())
    });
    recovers(&mut test_host, Some(load), server);
    test_host.host.end();
}

/// Failure mode A16.
#[test]
fn read_only_disk_is_reported_and_recovers() {
    disk::in_namespace("namespaced_read_only_disk");
}

#[test]
#[ignore = "a part of another test, in a namespace"]
fn namespaced_read_only_disk() {
    let folder = disk::namespace_folder().expect("another test runs this one");
    let image = folder.join("disk");
    fs::File::create(&image).and_then(|file| file.set_len(1 << 30)).expect("the file can be created");
    run("mkfs.ext4", &["-q", &text(&image)]);
    let device = run("losetup", &["--find", "--show", &text(&image)]).trim().to_owned();
    let mount = ["-o", "errors=remount-ro", &device];
    let host = small_host(&folder, &mount);
    // The device is detached once it is unmounted.
    run("losetup", &["--detach", &device]);
    let mut test_host = test_host(Some(host));
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    // The kernel's own reaction to a damaged file system.
    let trigger = Path::new("/sys/fs/ext4").join(device.trim_start_matches("/dev/")).join("trigger_fs_error");
    fs::write(&trigger, "1").expect("this test needs to be root, and ext4 in the kernel");
    is_refused(&mut test_host, &["read-only", "dmesg"]);
    let before = load.requests();
    wait_for("requests are still answered", DEADLINE, || (load.requests() > before + 100).then_some(()));
    let seen = load.stop();
    assert!(seen.requests > 100 && seen.failed.is_empty(), "{seen:?}");

    // Such a disk is never made writable again: its users exit, and it is unmounted, checked and mounted again.
    test_host.power_off();
    let state = folder.join("state");
    run("umount", &[&text(&state)]);
    let _ = std::process::Command::new("e2fsck").args(["-fy", &text(&image)]).output();
    disk::mount(&["-o", "loop", &text(&image)], &state);
    test_host.host.start_server();
    recovers(&mut test_host, None, None);
    test_host.host.end();
}

/// Failure mode A15.
#[test]
fn failing_block_device_is_reported_and_recovers() {
    disk::in_namespace("namespaced_failing_block_device");
}

#[test]
#[ignore = "a part of another test, in a namespace"]
fn namespaced_failing_block_device() {
    let folder = disk::namespace_folder().expect("another test runs this one");
    let backing = folder.join("backing");
    disk::mount(&["-t", "tmpfs", "-o", "size=400m", "tmpfs"], &backing);
    let image = backing.join("disk");
    fs::File::create(&image).and_then(|file| file.set_len(384 << 20)).expect("the file can be created");
    run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &text(&image)]);
    run("fallocate", &["--length", "384MiB", &text(&image)]);
    let mut test_host = test_host(Some(small_host(&folder, &["-o", "loop", &text(&image)])));
    let server = test_host.host.server_pid();
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    // The device has room for writes in place, including its journal, but for no newly allocated block: the kernel
    // notices at the sync of a file, and then drops the data that it could not write.
    run("fstrim", &[&text(&folder.join("state"))]);
    let ballast = backing.join("ballast");
    disk::fill(&ballast);
    let refused = wait_for("a change is refused", DEADLINE, || {
        let ran = test_host.gapless.run(["kv", "put", "/noted", &"much ".repeat(1000)]);
        (ran.code != 0).then_some(ran.stderr)
    });
    assert!(refused.contains("input/output error"), "{refused}");
    is_refused(&mut test_host, &["input/output error", "dmesg"]);
    fs::remove_file(&ballast).expect("the file can be removed");
    recovers(&mut test_host, Some(load), server);
    test_host.host.end();
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A damaged state is refused and left unchanged; after a restore the records apply, although the proxy has a newer
/// table.
///
/// Failure mode A17.
#[test]
fn damaged_state_is_refused_and_restored_from_backup() {
    let mut test_host = test_host(None);
    let load = ExcusingLoad::start(&test_host.host, RATE_PER_S);
    let (state, export) = (test_host.host.folder().join("state"), test_host.host.folder().join("export"));
    test_host.gapless.ok(["store", "export", &text(&export)]);
    for _ in 0..20 {
        test_host.gapless.ok(["kv", "put", "/noted", "after the backup"]);
    }
    // Exits in order, so that all data is in the database file itself.
    test_host.host.signal_server(rustix::process::Signal::TERM);
    wait_for("the server has exited", DEADLINE, || test_host.host.server_ended());
    let file = state.join("state.db");
    let damaged = flip(&file, "\"last_release\":");
    test_host.host.spawn_server();
    let code = wait_for("the server refuses to start", DEADLINE, || test_host.host.server_ended());
    let log = test_host.host.log();
    assert!(code != 0 && log.contains("damaged") && log.contains("copy a backup to its place"), "{code}: {log}");
    assert_eq!(fs::read(&file).expect("the file exists"), damaged, "the damaged file is unchanged");

    for ending in ["", "-wal", "-shm"] {
        let _ = fs::rename(state.join(format!("state.db{ending}")), state.join(format!("damaged{ending}")));
    }
    test_host.gapless.ok(["store", "import", &text(&export), "--state-dir", &text(&state)]);
    test_host.host.start_server();
    wait_for("the proxy applies the restored routes", DEADLINE, || {
        let planes = test_host.views();
        planes.iter().all(|view| view.planes_behind.is_empty()).then_some(())
    });
    recovers(&mut test_host, Some(load), None);
}

/// Changes a byte after each occurrence of a text; returns the new content of the file.
fn flip(file: &PathBuf, after: &str) -> Vec<u8> {
    let mut bytes = fs::read(file).expect("the file can be read");
    let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(after.as_bytes())).collect();
    assert!(!found.is_empty(), "there is no {after:?} in {}", file.display());
    found.iter().for_each(|at| bytes[at + after.len()] ^= 1);
    fs::write(file, &bytes).expect("the file can be written");
    bytes
}

/// Two faults at the same time: no server, and a proxy with a damaged table.
///
/// Failure mode A17.
#[test]
fn damaged_table_is_set_aside_and_sent_again() {
    let mut test_host = test_host(None);
    let table = test_host.host.folder().join("state/routes.json");
    test_host.host.kill_server();
    test_host.host.kill_proxy_of_killed_server();
    flip(&table, "\"version\":");
    let bytes = fs::read(&table).expect("the table exists");
    fs::write(&table, &bytes[..bytes.len() - 7]).expect("the file can be written");
    test_host.host.start_server();
    assert_eq!(test_host.settle(), Vec::<String>::new());
    assert!(table.with_file_name("routes.json.corrupt").exists());
    test_host.build();
    test_host.gapless.ok(["deploy", "--force"]);
}

/// SQLite takes a damaged log for one that ends before the damage: the later changes are gone. The running instances
/// and the proxy's routes are then newer than the records.
///
/// Failure mode A17.
#[test]
fn state_recovers_from_damaged_database_log() {
    let mut test_host = test_host(None);
    test_host.gapless.ok(["rollback"]);
    assert_eq!(test_host.settle(), Vec::<String>::new());
    test_host.host.kill_server();
    let log = test_host.host.folder().join("state/state.db-wal");
    let mut bytes = fs::read(&log).expect("there is a log");
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 1;
    fs::write(&log, &bytes).expect("the file can be written");
    assert_eq!(test_host.settle(), Vec::<String>::new());
    recovers(&mut test_host, None, None);
}

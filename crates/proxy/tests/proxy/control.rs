//! Tables over the control socket, and on disk.

use crate::harness::*;
use gapless_core::routes::RouteChange;
use gapless_proxy::control::ControlError;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn change(base: u64, version: u64, slots: Option<Vec<gapless_core::routes::SlotRoute>>) -> RouteChange {
    let group = slots.map(|slots| Arc::new(group(vec![route("*", "/", false)], slots)));
    RouteChange { base, version, groups: BTreeMap::from([(key("shop"), group)]) }
}

#[test]
fn change_applies_only_to_its_base_version() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&shop(5, vec![live(BLUE, &[blue.address])]));
    let patch = |change: &RouteChange| proxy.control.call(|client| client.patch_table(change));
    let applied = patch(&change(5, 8, Some(vec![live(GREEN, &[green.address])]))).unwrap();
    assert_eq!((applied.version, applied.persisted, applied.error), (8, true, None));
    assert_eq!(proxy.get("a", "/").header("x-origin").as_deref(), Some("green"));
    let status = proxy.status();
    assert_eq!((status.table_version, status.applied_version, status.persisted_version), (8, 8, 8));
    for wrong in [4, 5, 7, 9] {
        let refused = patch(&change(wrong, 10, None)).unwrap_err();
        assert!(matches!(refused, ControlError::Conflict { version: 8, .. }), "{wrong}: {refused}");
    }
    assert_eq!(proxy.get("a", "/").status(), 200);
    patch(&change(8, 9, None)).unwrap();
    assert_eq!(proxy.get("a", "/").status(), 404);
}

#[test]
fn acknowledged_change_may_be_repeated() {
    let blue = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![]));
    let change = change(1, 2, Some(vec![live(BLUE, &[blue.address])]));
    for _ in 0..2 {
        assert_eq!(proxy.control.call(|client| client.patch_table(&change)).unwrap().version, 2);
    }
    assert_eq!(proxy.get("a", "/").status(), 200);
}

#[test]
fn older_table_is_refused_and_same_table_accepted() {
    let blue = Origin::named("blue");
    let present = shop(5, vec![live(BLUE, &[blue.address])]);
    let proxy = Proxy::with(&present);
    let older = shop(4, vec![]);
    let refused = proxy.control.call(|client| client.put_table(&older)).unwrap_err();
    assert!(matches!(refused, ControlError::Conflict { version: 5, .. }), "{refused}");
    assert_eq!(proxy.put(&present).version, 5);
    assert_eq!(proxy.get("a", "/").status(), 200);
}

#[test]
fn last_table_is_applied_after_restart() {
    let blue = Origin::named("blue");
    let proxy = Proxy::with(&shop(7, vec![live(BLUE, &[blue.address])]));
    let proxy = proxy.restart(|_| {});
    assert_eq!(proxy.get("a", "/").header("x-origin").as_deref(), Some("blue"));
    let status = proxy.status();
    assert_eq!((status.table_version, status.applied_version, status.persisted_version), (7, 7, 7));
    let older = shop(6, vec![]);
    let refused = proxy.control.call(|client| client.put_table(&older)).unwrap_err();
    assert!(matches!(refused, ControlError::Conflict { version: 7, .. }), "{refused}");
}

#[test]
fn damaged_table_is_set_aside_at_start() {
    let blue = Origin::named("blue");
    let table = shop(7, vec![live(BLUE, &[blue.address])]);
    let mut proxy = Proxy::with(&table);
    proxy.end();
    let file = proxy.config.table_file.clone();
    let whole = std::fs::read(&file).unwrap();
    for damage in [&whole[..whole.len() / 2], b"", b"{\"version\": 1}", &[0; 100]] {
        std::fs::write(&file, damage).unwrap();
        proxy = proxy.restart(|_| {});
        assert_eq!(proxy.get("a", "/").status(), 404);
        assert_eq!(proxy.status().table_version, 0);
        let aside = file.with_extension("json.corrupt");
        assert_eq!(std::fs::read(&aside).unwrap(), damage);
        proxy.put(&table);
        assert_eq!(proxy.get("a", "/").status(), 200);
        proxy.end();
    }
}

#[test]
fn routing_continues_when_table_cannot_be_written() {
    let blue = Origin::named("blue");
    let proxy = Proxy::empty(|config| config.table_file = "/proc/gapless/table.json".into());
    let applied = proxy.put(&shop(1, vec![live(BLUE, &[blue.address])]));
    assert!(!applied.persisted && applied.error.is_some(), "{applied:?}");
    assert_eq!(proxy.get("a", "/").status(), 200);
    let status = proxy.status();
    assert_eq!((status.applied_version, status.persisted_version), (1, 0));
}

#[test]
fn control_sockets_admit_only_their_owner() {
    let proxy = Proxy::empty(|_| {});
    for socket in
        [proxy.config.control_socket.clone(), gapless_proxy::handover::socket_path(&proxy.config.control_socket)]
    {
        assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn control_socket_refuses_malformed_requests() {
    use std::io::{Read, Write};
    let proxy = Proxy::empty(|_| {});
    for (request, status) in [
        ("PUT /v1/table HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "400"),
        ("PUT /v1/table HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnull", "400"),
        ("GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("DELETE /v1/table HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&proxy.config.control_socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(std::str::from_utf8(&answer[9..]).unwrap(), status, "{request}");
    }
}

#[test]
fn wait_for_changes_ends_by_time_or_connect_failure() {
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[nobody()])]));
    let changes = |seen, timeout| proxy.control.call(|client| client.changes(seen, timeout)).unwrap().sequence;
    let present = changes(0, Duration::ZERO);
    let started = Instant::now();
    assert_eq!(changes(present, Duration::from_millis(50)), present);
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(proxy.get("a", "/").status(), 502);
    assert_ne!(changes(present, Duration::from_secs(5)), present);
}

#[test]
fn control_client_reports_absence_and_reconnects() {
    let mut proxy = Proxy::empty(|_| {});
    let control = Arc::clone(&proxy.control);
    let pid = control.try_status().unwrap().pid;
    assert_eq!(pid, std::process::id());
    proxy.end();
    std::fs::remove_file(&proxy.config.control_socket).unwrap();
    assert!(matches!(control.call(|client| client.status()), Err(ControlError::Away { .. })));
    let proxy = proxy.restart(|_| {});
    assert!(control.try_status().is_some());
    drop(proxy);
}

#[test]
fn change_among_thousand_groups_leaves_others_alone() {
    let origins = [Origin::named("blue"), Origin::named("green")];
    let mut table = shop(1, vec![]);
    table.groups.clear();
    for i in 0..1000 {
        let app = format!("app-{i}");
        let slots = vec![live(&format!("{app}/production/blue/1"), &[origins[0].address])];
        table.groups.insert(key(&app), Arc::new(group(vec![route(&format!("{app}.test"), "/", false)], slots)));
    }
    let proxy = Proxy::with(&table);
    for i in [0, 500, 999] {
        let slots = vec![live(&format!("app-{i}/production/green/2"), &[origins[1].address])];
        let new = group(vec![route(&format!("app-{i}.test"), "/", false)], slots);
        let groups = BTreeMap::from([(key(&format!("app-{i}")), Some(Arc::new(new)))]);
        let version = proxy.status().table_version;
        let change = RouteChange { base: version, version: version + 1, groups };
        proxy.control.call(|client| client.patch_table(&change)).unwrap();
        assert_eq!(proxy.get(&format!("app-{i}.test"), "/").header("x-origin").as_deref(), Some("green"));
        let neighbour = proxy.get(&format!("app-{}.test", (i + 1) % 1000), "/");
        assert!(neighbour.status() == 200);
    }
    assert_eq!(proxy.get("app-501.test", "/").header("x-origin").as_deref(), Some("blue"));
    assert_eq!(proxy.status().placements.len(), 1003);
}

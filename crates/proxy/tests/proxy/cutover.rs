//! The cutover and the drain: from one instant on no request reaches the old slot, and its requests finish.

use crate::harness::*;
use gapless_core::routes::RouteChange;
use gapless_proxy::control::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn origin_of(answer: &Answer) -> String {
    answer.header("x-origin").unwrap_or_else(|| answer.status().to_string())
}

#[test]
fn kept_connections_stay_open_through_cutover() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    let mut conns: Vec<Conn> = (0..20).map(|_| proxy.connect()).collect();
    for conn in &mut conns {
        assert_eq!(origin_of(&conn.get("/")), "blue");
    }
    proxy.put(&shop(2, vec![live(GREEN, &[green.address]), fallback(BLUE, &[blue.address])]));
    for conn in &mut conns {
        assert_eq!(origin_of(&conn.get("/")), "green");
    }
    proxy.put(&shop(3, vec![live(BLUE, &[blue.address]), fallback(GREEN, &[green.address])]));
    for conn in &mut conns {
        assert_eq!(origin_of(&conn.get("/")), "blue");
    }
}

#[test]
fn no_request_reaches_old_slot_after_acknowledgement() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let sides = [(BLUE, blue.address), (GREEN, green.address)];
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    // The last acknowledged version; odd when no change is in progress.
    let acknowledged = Arc::new(AtomicU64::new(1));
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
            let address = proxy.address;
            thread::spawn(move || {
                let mut conn = Conn::connect(address);
                let mut requests = 0_u64;
                while !done.load(Ordering::SeqCst) {
                    let before = acknowledged.load(Ordering::SeqCst);
                    if client % 2 == 0 {
                        conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    } else {
                        conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
                    }
                    let origin = origin_of(&conn.answer());
                    let after = acknowledged.load(Ordering::SeqCst);
                    if before == after && before % 2 == 1 {
                        let expected = if (before / 2) % 2 == 0 { "blue" } else { "green" };
                        assert_eq!(origin, expected, "at {before}");
                    }
                    assert!(origin == "blue" || origin == "green", "{origin}");
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for version in 2..=200 {
        let (live_one, other) = (sides[(version as usize + 1) % 2], sides[version as usize % 2]);
        acknowledged.fetch_add(1, Ordering::SeqCst);
        let slots = vec![live(live_one.0, &[live_one.1]), fallback(other.0, &[other.1])];
        let groups = shop(version, slots).groups.into_iter().map(|(key, group)| (key, Some(group))).collect();
        let change = RouteChange { base: version - 1, version, groups };
        proxy.control.call(|client| client.patch_table(&change)).unwrap();
        acknowledged.fetch_add(1, Ordering::SeqCst);
        // Some requests start and end between two cutovers.
        let seen = proxy.status().placements.values().map(|traffic| traffic.requests).sum::<u64>();
        wait_for("some requests", || {
            (proxy.status().placements.values().map(|traffic| traffic.requests).sum::<u64>() > seen + 16).then_some(())
        });
    }
    done.store(true, Ordering::SeqCst);
    let requests: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let status = proxy.status();
    let counted: u64 = status.placements.values().map(|traffic| traffic.answers.success).sum();
    assert_eq!(counted, requests);
    assert!(status.placements.values().all(|traffic| traffic.failures == Default::default()), "{status:?}");
}

#[test]
fn old_slot_finishes_and_counts_requests_in_flight_at_cutover() {
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let old = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
        conn.try_send("later")
    });
    let new = Origin::named("new");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    let mut slow = proxy.connect();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.read_until("first").unwrap();
    let id = BLUE.parse().unwrap();
    // The slot leaves the table.
    proxy.put(&shop(2, vec![live(GREEN, &[new.address])]));
    let status = proxy.status();
    assert_eq!((status.placements[&id].in_flight, status.placements[&id].role), (1, None));
    assert_eq!(origin_of(&proxy.get("shop.test", "/")), "new");
    let news = status.sequence;
    go_on.send(()).unwrap();
    assert_eq!(slow.read_exactly(5).unwrap(), b"later");
    let changes = proxy.control.call(|client| client.changes(news, Duration::from_secs(5))).unwrap();
    assert_ne!(changes.sequence, news);
    let traffic = &proxy.status().placements[&id];
    assert_eq!((traffic.in_flight, traffic.requests, traffic.answers.success), (0, 1, 1));
    assert_eq!(origin_of(&slow.get("/")), "new");
}

#[test]
fn idle_connections_to_old_slot_close_at_cutover() {
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    let old = Origin::raw(move |conn, _| {
        while conn.read_message("").is_ok() {
            conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let new = Origin::named("new");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    for _ in 0..5 {
        assert_eq!(proxy.get("shop.test", "/").status(), 200);
    }
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    proxy.put(&shop(2, vec![live(GREEN, &[new.address]), fallback(BLUE, &[old.address])]));
    let opened = old.connections() as u64;
    wait_for("all connections to be closed", || (ended.load(Ordering::SeqCst) == opened).then_some(()));
}

#[test]
fn connection_is_not_reused_for_later_placement_at_same_address() {
    let origin = Origin::named("same");
    let proxy = Proxy::configured(&shop(1, vec![live(BLUE, &[origin.address])]), |config| config.workers = 1);
    let mut conn = proxy.connect();
    conn.get("/");
    conn.get("/");
    assert_eq!(origin.connections(), 1);
    proxy.put(&shop(2, vec![live("shop/production/blue/3", &[origin.address])]));
    conn.get("/");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn change_of_another_group_keeps_connections() {
    let origin = Origin::named("same");
    let mut first = shop(1, vec![live(BLUE, &[origin.address])]);
    let proxy = Proxy::configured(&first, |config| config.workers = 1);
    let mut conn = proxy.connect();
    conn.get("/");
    let other = group(vec![route("other.test", "/", false)], vec![live("other/production/blue/1", &[nobody()])]);
    first.version = 2;
    first.groups.insert(key("other"), Arc::new(other));
    proxy.put(&first);
    conn.get("/");
    assert_eq!(origin.connections(), 1);
    // Another instance joins: the connections of the first instance stay.
    proxy.put(&shop(3, vec![live(BLUE, &[origin.address, nobody()])]));
    conn.get("/");
    conn.get("/");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn counts_continue_when_placement_returns() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    proxy.get("shop.test", "/");
    proxy.put(&shop(2, vec![live(GREEN, &[green.address])]));
    proxy.put(&shop(3, vec![live(BLUE, &[blue.address])]));
    proxy.get("shop.test", "/");
    let status = proxy.control.call(Client::status).unwrap();
    assert_eq!(status.placements[&BLUE.parse().unwrap()].requests, 2);
}

#[test]
fn first_and_last_request_times_enclose_cutover() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[blue.address])]));
    let now_us = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_micros()).unwrap()
    };
    let started_us = now_us();
    proxy.get("shop.test", "/");
    proxy.put(&shop(2, vec![live(GREEN, &[green.address])]));
    let middle = now_us();
    proxy.get("shop.test", "/");
    let status = proxy.status();
    let (old, new) = (&status.placements[&BLUE.parse().unwrap()], &status.placements[&GREEN.parse().unwrap()]);
    // The data plane reads its clock fifty times a second.
    let slack = 1000;
    assert_eq!(old.first_request_at_us, old.last_request_at_us);
    let last = old.last_request_at_us.unwrap();
    assert!((started_us - slack..=middle + slack).contains(&last), "{started_us} {last} {middle}");
    let first = new.first_request_at_us.unwrap();
    assert!((middle - slack..=now_us() + slack).contains(&first), "{middle} {first}");
}

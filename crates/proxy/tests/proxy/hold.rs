//! Requests held until a table ends the hold, within bounds; and the page of an application under maintenance.

use crate::harness::*;
use gapless_core::routes::{MaintenanceRoute, PreviewRoute, RouteTable, SlotRoute};
use gapless_core::spec::HoldSettings;
use gapless_core::{Millis, RouteGroup};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn held(version: u64, slots: Vec<SlotRoute>, settings: HoldSettings) -> RouteTable {
    with(version, slots, |group| group.hold = Some(settings))
}

fn with(version: u64, slots: Vec<SlotRoute>, change: impl FnOnce(&mut RouteGroup)) -> RouteTable {
    let mut group = group(vec![route("*", "/", false)], slots);
    change(&mut group);
    let mut table = table(version, []);
    table.groups.insert(key("shop"), Arc::new(group));
    table
}

fn answers(proxy: &Proxy) -> gapless_proxy::control::OwnAnswers {
    proxy.status().groups[&key("shop")].clone()
}

#[test]
fn held_requests_reach_new_slot_once_live() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&held(1, vec![live(BLUE, &[blue.address])], HoldSettings::default()));
    let waiting: Vec<_> = (0..50)
        .map(|i| {
            let mut conn = proxy.connect();
            conn.send(format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
            conn
        })
        .collect();
    wait_for("all wait", || (answers(&proxy).held == 50).then_some(()));
    assert_eq!((blue.requests(), green.requests()), (0, 0));
    proxy.put(&shop(2, vec![live(GREEN, &[green.address]), fallback(BLUE, &[blue.address])]));
    for mut conn in waiting {
        assert_eq!(conn.answer().header("x-origin").as_deref(), Some("green"));
    }
    let answers = answers(&proxy);
    assert!(answers.held_refused == 0 && answers.held_longest_us > 0, "{answers:?}");
    assert_eq!(blue.requests(), 0);
}

#[test]
fn held_requests_continue_in_turn_beyond_instance_queue() {
    const HELD: usize = 520;
    let may_answer = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&may_answer);
    let origin = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        wait_for("it may answer", || may.load(Ordering::SeqCst).then_some(()));
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let slots = || vec![live(BLUE, &[origin.address])];
    let table = held(1, slots(), HoldSettings::default());
    let proxy = Proxy::configured(&table, |config| config.workers = 1);
    let waiting: Vec<_> = (0..HELD)
        .map(|_| {
            let mut conn = proxy.connect();
            conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            conn
        })
        .collect();
    wait_for("all wait", || (answers(&proxy).held == HELD as u64).then_some(()));
    proxy.put(&shop(2, slots()));
    wait_for("those of the first turn arrive", || (origin.requests() == 500).then_some(()));
    let in_flight = proxy.status().placements[&BLUE.parse().unwrap()].in_flight;
    assert_eq!(in_flight, 500, "the others wait for their turn");
    may_answer.store(true, Ordering::SeqCst);
    for mut conn in waiting {
        assert_eq!(conn.answer().status(), 200);
    }
    assert_eq!(origin.requests(), HELD);
}

#[test]
fn held_requests_reach_old_slot_when_hold_ends_without_cutover() {
    let blue = Origin::named("blue");
    let slots = || vec![live(BLUE, &[blue.address])];
    let proxy = Proxy::with(&held(1, slots(), HoldSettings::default()));
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("it waits", || (answers(&proxy).held == 1).then_some(()));
    proxy.put(&shop(2, slots()));
    assert_eq!(conn.answer().header("x-origin").as_deref(), Some("blue"));
}

#[test]
fn hold_answers_503_with_retry_after_beyond_its_limits() {
    let blue = Origin::named("blue");
    let bounds = |change: fn(&mut HoldSettings)| {
        let mut settings = HoldSettings::default();
        change(&mut settings);
        Proxy::with(&held(1, vec![live(BLUE, &[blue.address])], settings))
    };
    let too_long = bounds(|settings| settings.timeout = Millis(50));
    let answer = too_long.get("a", "/");
    assert_eq!((answer.status(), answer.header("retry-after").as_deref()), (503, Some("2")));

    let too_many = bounds(|settings| settings.requests_max = 1);
    let mut first = too_many.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("it waits", || (answers(&too_many).held == 1).then_some(()));
    assert_eq!(too_many.get("a", "/").status(), 503);
    assert_eq!(answers(&too_many).held_refused, 1);

    let too_large = bounds(|settings| settings.bytes_max = 200);
    assert_eq!(
        too_large.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(300))).status(),
        503
    );
    assert_eq!(blue.requests(), 0);
}

#[test]
fn held_request_is_dropped_when_its_client_leaves() {
    let blue = Origin::named("blue");
    let settings = HoldSettings { requests_max: 1, ..HoldSettings::default() };
    let proxy = Proxy::with(&held(1, vec![live(BLUE, &[blue.address])], settings));
    for round in 1..=3 {
        // The previous client has disconnected; its place is free as soon as the proxy notices. Until then the next request
        // is refused, and only a refused client asks again.
        let _held = wait_for("it waits", || {
            let refused = answers(&proxy).held_refused;
            let mut conn = proxy.connect();
            conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            wait_for("it waits or is refused", || {
                let now = answers(&proxy);
                (now.held == round).then_some(true).or((now.held_refused > refused).then_some(false))
            })
            .then_some(conn)
        });
    }
    proxy.put(&shop(2, vec![live(BLUE, &[blue.address])]));
    assert_eq!(proxy.get("a", "/").status(), 200);
    assert!(blue.requests() <= 2, "{}", blue.requests());
}

#[test]
fn preview_request_is_not_held() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&with(1, vec![live(BLUE, &[blue.address])], |group| {
        group.hold = Some(HoldSettings::default());
        group.preview = Some(PreviewRoute { token: "token".to_owned(), slot: live(GREEN, &[green.address]) });
    }));
    let answer = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Gapless-Preview: token\r\n\r\n");
    assert_eq!(answer.header("x-origin").as_deref(), Some("green"));
}

#[test]
fn maintenance_lets_only_health_checks_through() {
    let blue = Origin::named("blue");
    for page in [None, Some("<h1>Soon back</h1>".to_owned())] {
        let proxy = Proxy::with(&with(1, vec![live(BLUE, &[blue.address])], |group| {
            group.maintenance = Some(MaintenanceRoute { page: page.clone(), health_paths: vec!["/up".to_owned()] });
        }));
        let answer = proxy.get("a", "/");
        assert_eq!((answer.status(), answer.header("retry-after").as_deref()), (503, Some("2")));
        assert!(answer.text().contains(page.as_deref().unwrap_or("maintenance")), "{}", answer.text());
        assert_eq!(proxy.get("a", "/up").header("x-origin").as_deref(), Some("blue"));
        assert_eq!(answers(&proxy).maintenance, 1);
        proxy.put(&shop(2, vec![live(BLUE, &[blue.address])]));
        assert_eq!(proxy.get("a", "/").status(), 200);
    }
}

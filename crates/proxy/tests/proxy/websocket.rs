//! Upgraded connections: bytes in both directions, and an orderly end when the slot drains.

use crate::harness::*;
use gapless_core::Millis;
use gapless_core::routes::{RouteTable, SlotRoute};
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ASK: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

/// Echoes every byte, and reports to the test how a connection ended.
fn echo() -> (Origin, mpsc::Receiver<Vec<u8>>) {
    let (ended, ends) = mpsc::channel();
    let origin = Origin::raw(move |conn, _| {
        let head = conn.read_head()?;
        if !head.starts_with("GET /ws ") {
            return conn.try_send("HTTP/1.1 200 OK\r\nX-Origin: plain\r\nContent-Length: 0\r\n\r\n");
        }
        assert_eq!(header_values(&head, "upgrade"), ["websocket"]);
        assert_eq!(header_values(&head, "connection"), ["upgrade"]);
        conn.try_send(AGREE)?;
        let mut last = Vec::new();
        loop {
            match conn.read_exactly(1) {
                Ok(byte) => {
                    last.extend(&byte);
                    let rest = std::mem::take(&mut conn.rest);
                    last.extend(&rest);
                    conn.try_send([byte, rest].concat())?;
                }
                Err(error) => {
                    ended.send(last).ok();
                    return Err(error);
                }
            }
        }
    });
    (origin, ends)
}

/// A masked frame of a client.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    frame
}

fn open(proxy: &Proxy) -> Conn {
    let mut conn = proxy.connect();
    conn.send(ASK);
    let head = conn.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header_values(&head, "upgrade"), ["websocket"]);
    assert_eq!(header_values(&head, "connection"), ["upgrade"]);
    assert_eq!(header_values(&head, "sec-websocket-accept"), ["y"]);
    conn
}

fn says(conn: &mut Conn, text: &str) {
    let frame = frame(text);
    conn.send(&frame);
    assert_eq!(conn.read_exactly(frame.len()).unwrap(), frame);
}

fn draining(version: u64, old: SlotRoute, new: SlotRoute, drain_timeout: u64) -> RouteTable {
    shop(version, vec![new, SlotRoute { drain_timeout: Millis(drain_timeout), ..old }])
}

fn in_flight(proxy: &Proxy) -> (u64, u64) {
    let status = proxy.status();
    let traffic = &status.placements[&BLUE.parse().unwrap()];
    (traffic.in_flight, traffic.upgraded)
}

#[test]
fn websocket_carries_both_directions_and_counts_in_flight() {
    let (origin, ends) = echo();
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = open(&proxy);
    for i in 0..100 {
        says(&mut conn, &format!("message {i}"));
    }
    let big = vec![7_u8; 3_000_000];
    let mut writer = conn.stream.try_clone().unwrap();
    let sent = big.clone();
    let thread = std::thread::spawn(move || io::Write::write_all(&mut writer, &sent));
    assert_eq!(conn.read_exactly(big.len()).unwrap(), big);
    thread.join().unwrap().unwrap();
    assert_eq!(in_flight(&proxy), (1, 1));
    drop(conn);
    ends.recv_timeout(PATIENCE).unwrap();
    wait_for("the end", || (in_flight(&proxy) == (0, 0)).then_some(()));
    let status = proxy.status();
    assert_eq!(status.placements[&BLUE.parse().unwrap()].answers.informational, 1);
}

#[test]
fn bytes_after_upgrade_request_wait_for_agreement() {
    let (origin, _ends) = echo();
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    let early = frame("early");
    conn.send([ASK.as_bytes(), &early].concat());
    assert!(conn.read_head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(conn.read_exactly(early.len()).unwrap(), early);
}

#[test]
fn bytes_after_declined_upgrade_are_next_request() {
    let origin = Origin::named("plain");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send(format!("{ASK}GET /next HTTP/1.1\r\nHost: a\r\n\r\n{ASK}GET /last HTTP/1.1\r\nHost: a\r\n\r\n"));
    for path in ["/ws", "/next", "/ws", "/last"] {
        assert!(conn.answer().text().starts_with(&format!("GET {path} ")), "{path}");
    }
    // A request smuggled behind a refused upgrade is checked like any other.
    conn.send(format!("{ASK}GET / HTTP/1.1\nHost: a\n\n"));
    assert_eq!(conn.answer().status(), 200);
    assert_eq!(conn.answer().status(), 400);
}

#[test]
fn http_2_is_not_tunnelled_past_routes() {
    let origin = Origin::named("plain");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    for protocol in ["h2c", "HTTP/2.0", "websocket, h2c", "TLS/1.2"] {
        let answer = proxy.ask(&format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\nUpgrade: {protocol}"
        ));
        assert!(header_values(&answer.text(), "upgrade").is_empty(), "{}", answer.text());
    }
    // Neither without the word in Connection, nor behind a body.
    let answer = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket");
    assert!(header_values(&answer.text(), "upgrade").is_empty());
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi");
    assert!(header_values(&conn.answer().text(), "upgrade").is_empty());
}

#[test]
fn unrequested_protocol_change_is_rejected() {
    let origin = Origin::answering(|_| AGREE.to_owned());
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    assert_eq!(proxy.get("a", "/").status(), 502);
}

#[test]
fn websocket_survives_cutover_until_drain_deadline_then_1012() {
    let (old, ends) = echo();
    let new = Origin::named("new");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    let mut conn = open(&proxy);
    says(&mut conn, "before");
    let cut = Instant::now();
    proxy.put(&draining(2, fallback(BLUE, &[old.address]), live(GREEN, &[new.address]), 600));
    says(&mut conn, "after");
    assert_eq!(proxy.get("a", "/").header("x-origin").as_deref(), Some("new"));
    assert_eq!(in_flight(&proxy), (1, 1));
    assert_eq!(conn.read_exactly(4).unwrap(), [0x88, 0x02, 0x03, 0xf4]);
    assert!(cut.elapsed() >= Duration::from_millis(580), "{:?}", cut.elapsed());
    assert!(conn.is_ended());
    let got = ends.recv_timeout(PATIENCE).unwrap();
    assert!(got.ends_with(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4]), "{got:?}");
    wait_for("the end", || (in_flight(&proxy) == (0, 0)).then_some(()));
}

#[test]
fn close_frame_is_inserted_between_frames_only() {
    // The application sends a frame in two pieces, the second one while the tunnel closes.
    let (go_on, goes_on) = mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let old = Origin::raw(move |conn, _| {
        conn.read_head()?;
        conn.try_send(AGREE)?;
        conn.try_send([0x82, 10, 1, 2, 3])?;
        goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
        conn.try_send([4, 5, 6, 7, 8, 9, 10, 0x82, 1])?;
        conn.read_to_end();
        Ok(())
    });
    let new = Origin::named("new");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    let mut conn = open(&proxy);
    assert_eq!(conn.read_exactly(5).unwrap(), [0x82, 10, 1, 2, 3]);
    proxy.put(&draining(2, fallback(BLUE, &[old.address]), live(GREEN, &[new.address]), 50));
    assert!(conn.is_quiet_for(Duration::from_millis(300)), "cut in the middle of a frame");
    go_on.send(()).unwrap();
    assert_eq!(conn.read_exactly(11).unwrap(), [4, 5, 6, 7, 8, 9, 10, 0x88, 0x02, 0x03, 0xf4]);
    assert!(conn.is_ended());
}

#[test]
fn slot_keeps_websockets_when_live_again() {
    let (old, _ends) = echo();
    let new = Origin::named("new");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    let mut conn = open(&proxy);
    proxy.put(&draining(2, fallback(BLUE, &[old.address]), live(GREEN, &[new.address]), 300));
    proxy.put(&shop(3, vec![live(BLUE, &[old.address])]));
    assert!(conn.is_quiet_for(Duration::from_millis(600)));
    says(&mut conn, "still here");
}

#[test]
fn websocket_of_replaced_data_plane_closes_in_time_when_slot_is_live_again() {
    let (old, _ends) = echo();
    let new = Origin::named("new");
    let table = shop(1, vec![live(BLUE, &[old.address])]);
    let mut proxy = Proxy::configured(&table, |config| config.limits.stop_timeout = Duration::from_millis(3_500));
    let mut conn = open(&proxy);
    let address = proxy.address;
    let next = proxy.beside(|config| (config.replace, config.listen) = (true, vec![address]));
    next.put(&draining(2, fallback(BLUE, &[old.address]), live(GREEN, &[new.address]), 300));
    next.put(&shop(3, vec![live(BLUE, &[old.address])]));
    assert_eq!(conn.read_exactly(4).unwrap(), [0x88, 0x02, 0x03, 0xf4]);
    proxy.end();
}

#[test]
fn websocket_closes_in_time_when_slot_left_table() {
    let (old, _ends) = echo();
    let new = Origin::named("new");
    let mut first = live(BLUE, &[old.address]);
    first.drain_timeout = Millis(200);
    let proxy = Proxy::with(&shop(1, vec![first]));
    let mut conn = open(&proxy);
    proxy.put(&shop(2, vec![live(GREEN, &[new.address])]));
    assert_eq!(conn.read_exactly(4).unwrap(), [0x88, 0x02, 0x03, 0xf4]);
    assert!(conn.is_ended());
}

#[test]
fn other_protocol_is_carried_and_ended_without_frame() {
    let (old, new) = (
        Origin::raw(|conn, _| {
            conn.read_head()?;
            conn.try_send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello")?;
            let word = conn.read_exactly(4)?;
            conn.try_send(word)?;
            conn.read_to_end();
            Ok(())
        }),
        Origin::named("new"),
    );
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[old.address])]));
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
    assert!(conn.read_head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(conn.read_exactly(5).unwrap(), b"hello");
    conn.send("ping");
    assert_eq!(conn.read_exactly(4).unwrap(), b"ping");
    proxy.put(&draining(2, fallback(BLUE, &[old.address]), live(GREEN, &[new.address]), 100));
    assert!(conn.is_ended());
}

#[test]
fn upgraded_connection_ends_for_both_sides() {
    let origin = Origin::raw(|conn, _| {
        conn.read_head()?;
        conn.try_send(AGREE)?;
        // Close frame, then the end.
        conn.try_send([0x88, 0x00])
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = open(&proxy);
    assert_eq!(conn.read_exactly(2).unwrap(), [0x88, 0x00]);
    assert!(conn.is_ended());
    drop(conn);
    wait_for("the end", || (in_flight(&proxy) == (0, 0)).then_some(()));
}

#[test]
fn websockets_close_in_order_when_data_plane_stops() {
    let (origin, _ends) = echo();
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let mut proxy = Proxy::configured(&table, |config| config.limits.stop_timeout = Duration::from_secs(4));
    let mut conn = open(&proxy);
    proxy.begin_stop();
    says(&mut conn, "still here");
    assert_eq!(conn.read_exactly(4).unwrap(), [0x88, 0x02, 0x03, 0xf4]);
    proxy.end();
}

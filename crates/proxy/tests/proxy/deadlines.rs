//! Deadlines and limits of connections, requests and bodies.

use crate::harness::*;
use gapless_core::Millis;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);

/// Well above `SHORT` and the jitter of a busy machine, well below the defaults.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn slow_head_is_answered_408() {
    let origin = Origin::named("blue");
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let proxy = Proxy::configured(&table, |config| config.limits.head_timeout = SHORT);
    for begin in ["GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n"] {
        let mut conn = proxy.connect();
        let started = Instant::now();
        conn.send(begin);
        assert_eq!(conn.answer().status(), 408, "{begin}");
        assert!((SHORT..SOON).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert!(conn.is_ended());
    }
    // The deadline is for the whole head: a byte now and then does not extend it.
    let mut conn = proxy.connect();
    let started = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nX-Long: ".iter().chain([b'x'; 500].iter()) {
        if conn.try_send([*byte]).is_err() || !conn.is_quiet_for(Duration::from_millis(10)) {
            break;
        }
    }
    assert!(started.elapsed() < SOON);
    assert_eq!(origin.requests(), 0);
}

#[test]
fn idle_connection_is_closed() {
    let origin = Origin::named("blue");
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let proxy = Proxy::configured(&table, |config| config.limits.keep_alive_timeout = SHORT);
    let mut silent = proxy.connect();
    assert!(silent.is_ended());
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/").status(), 200);
    let started = Instant::now();
    assert!(conn.is_ended());
    assert!((SHORT..SOON).contains(&(started.elapsed() + Duration::from_millis(50))));
    wait_for("no connections", || (proxy.status().connections == 0).then_some(()));
}

#[test]
fn long_idle_connection_is_served_again() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for _ in 0..2 {
        assert_eq!(conn.get("/").status(), 200);
        // Its buffers are released by then.
        assert!(conn.is_quiet_for(Duration::from_millis(800)));
    }
    conn.send("GET / HT");
    assert!(conn.is_quiet_for(Duration::from_millis(800)));
    conn.send("TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(conn.answer().status(), 200);
}

#[test]
fn late_answer_is_answered_504() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.read_head().map(drop)
    });
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.first_byte_timeout = Millis(200));
    let proxy = Proxy::with(&table);
    let started = Instant::now();
    let mut conn = proxy.connect();
    let answer = conn.get("/");
    assert_eq!((answer.status(), answer.header("retry-after").as_deref()), (504, Some("2")));
    assert!((SHORT..SOON).contains(&started.elapsed()));
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(conn.answer().status(), 504);
    let status = proxy.status();
    let traffic = &status.placements[&BLUE.parse().unwrap()];
    assert_eq!((traffic.failures.timeout, traffic.in_flight, status.groups[&key("shop")].timeout), (2, 0, 2));
    assert_eq!(origin.requests(), 2, "a request that may have been worked on was sent again");
}

#[test]
fn stalled_answer_is_cut_off() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        conn.read_head().map(drop)
    });
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.idle_body_timeout = Millis(200));
    let proxy = Proxy::with(&table);
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn.read_until("first").unwrap();
    assert!(conn.is_ended());
    let traffic = wait_for("the end of the request", || {
        let traffic = proxy.status().placements[&BLUE.parse().unwrap()].clone();
        (traffic.in_flight == 0).then_some(traffic)
    });
    assert_eq!(traffic.failures.timeout, 1);
}

#[test]
fn slow_answer_is_not_cut_off() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")?;
        for _ in 0..12 {
            conn.is_quiet_for(Duration::from_millis(50));
            conn.try_send("x")?;
        }
        Ok(())
    });
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.idle_body_timeout = Millis(300));
    let proxy = Proxy::with(&table);
    assert_eq!(proxy.get("a", "/").body.len(), 12);
}

#[test]
fn stalled_client_is_answered_408() {
    let origin = Origin::named("blue");
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.idle_body_timeout = Millis(200));
    let proxy = Proxy::with(&table);
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    assert_eq!(conn.answer().status(), 408);
    assert!(conn.is_ended());
    wait_for("the end of the request", || {
        (proxy.status().placements[&BLUE.parse().unwrap()].in_flight == 0).then_some(())
    });
}

#[test]
fn request_ends_when_client_stops_reading() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        loop {
            conn.try_send(&chunk)?;
        }
    });
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.idle_body_timeout = Millis(300));
    let proxy = Proxy::with(&table);
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn.read_until("\r\n\r\n").unwrap();
    wait_for("the end of the request", || {
        let status = proxy.status();
        (status.placements[&BLUE.parse().unwrap()].in_flight == 0 && status.connections == 0).then_some(())
    });
}

#[test]
fn unread_body_ends_the_request() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let table = shop_with(1, vec![live(BLUE, &[listener.local_addr().unwrap()])], |forward| {
        forward.idle_body_timeout = Millis(300);
    });
    let proxy = Proxy::with(&table);
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let (_accepted, _) = listener.accept().unwrap();
    let mut writer = conn.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        use std::io::Write;
        while writer.write_all(&[0; 1 << 16]).is_ok() {}
    });
    assert_eq!(conn.answer().status(), 504);
}

#[test]
fn connect_has_deadline() {
    // A queue of one connection, filled by the test: the system answers no further connection.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let _filling: Vec<_> = std::iter::repeat_with(fill).take_while(Result::is_ok).take(8).collect();
    let table = shop_with(1, vec![live(BLUE, &[address])], |forward| forward.connect_timeout = Millis(200));
    let proxy = Proxy::with(&table);
    let started = Instant::now();
    assert_eq!(proxy.get("a", "/").status(), 504);
    assert!((SHORT..SOON).contains(&started.elapsed()));
    assert_eq!(proxy.status().placements[&BLUE.parse().unwrap()].failures.connect, 1);
}

#[test]
fn connections_beyond_limit_wait() {
    let origin = Origin::named("blue");
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let proxy = Proxy::configured(&table, |config| (config.limits.connections_max, config.workers) = (4, 1));
    let mut held: Vec<Conn> = (0..4).map(|_| proxy.connect()).collect();
    for conn in &mut held {
        assert_eq!(conn.get("/").status(), 200);
    }
    let mut waiting = proxy.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(waiting.is_quiet_for(Duration::from_millis(100)));
    assert_eq!(proxy.status().connections, 4);
    held.pop();
    assert_eq!(waiting.answer().status(), 200);
}

#[test]
fn longest_idle_connections_close_at_limit() {
    let origin = Origin::named("blue");
    let table = shop(1, vec![live(BLUE, &[origin.address])]);
    let proxy = Proxy::configured(&table, |config| (config.limits.connections_max, config.workers) = (2, 1));
    let mut rested = proxy.connect();
    assert_eq!(rested.get("/").status(), 200);
    let mut busy = proxy.connect();
    let mut waiting = proxy.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // This connection is used continuously, so another one closes.
    while rested.is_quiet_for(Duration::from_millis(100)) {
        assert_eq!(busy.get("/").status(), 200);
    }
    assert_eq!(waiting.answer().status(), 200);
    assert_eq!(busy.get("/").status(), 200);
}

#[test]
fn request_ends_when_client_leaves() {
    let (gone, is_gone) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        gone.send(conn.is_ended()).ok();
        Ok(())
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the request", || (origin.requests() == 1).then_some(()));
    drop(conn);
    assert!(is_gone.recv_timeout(PATIENCE).unwrap());
    let traffic = wait_for("the end of the request", || {
        let traffic = proxy.status().placements[&BLUE.parse().unwrap()].clone();
        (traffic.in_flight == 0).then_some(traffic)
    });
    assert_eq!((traffic.abandoned, traffic.failures), (1, Default::default()));
}

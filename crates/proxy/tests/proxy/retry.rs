//! Retries: a request that could not be sent is sent again; a request that may have arrived is sent again only when it is
//! idempotent.

use crate::harness::*;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn traffic(proxy: &Proxy, placement: &str) -> gapless_proxy::control::PlacementTraffic {
    proxy.status().placements[&placement.parse().unwrap()].clone()
}

/// Answers one request on each connection and closes the connection when the second request arrives.
fn closes_on_the_second() -> Origin {
    Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send(OK)?;
        conn.read_message("").map(drop)
    })
}

#[test]
fn get_is_resent_when_kept_connection_was_closed() {
    let origin = closes_on_the_second();
    let proxy = Proxy::configured(&shop(1, vec![live(BLUE, &[origin.address])]), |config| config.workers = 1);
    let mut conn = proxy.connect();
    for _ in 0..10 {
        assert_eq!(conn.get("/").status(), 200);
    }
    let traffic = traffic(&proxy, BLUE);
    assert_eq!((traffic.requests, traffic.answers.success), (10, 10));
    assert!(traffic.retries >= 4, "{traffic:?}");
}

/// the clock of idle connections stood still without a client, so the connections stayed open.
#[test]
fn idle_connections_to_instance_close_without_clients() {
    let is_closed = Arc::new(AtomicBool::new(false));
    let seen = is_closed.clone();
    let origin = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        conn.try_send(OK)?;
        let rest = conn.read_message("").map(drop);
        seen.store(true, Ordering::Relaxed);
        rest
    });
    let proxy = Proxy::configured(&shop(1, vec![live(BLUE, &[origin.address])]), |config| {
        config.workers = 1;
        config.limits.pool_idle_timeout = Duration::from_millis(300);
    });
    assert_eq!(proxy.connect().get("/").status(), 200);
    wait_for("it is closed", || is_closed.load(Ordering::Relaxed).then_some(()));
}

#[test]
fn post_is_never_sent_twice() {
    let origin = closes_on_the_second();
    let proxy = Proxy::configured(&shop(1, vec![live(BLUE, &[origin.address])]), |config| config.workers = 1);
    let mut conn = proxy.connect();
    let mut answers = 0;
    for i in 0..20 {
        conn.send(format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        let status = conn.answer().status();
        assert!(status == 200 || status == 502, "{status}");
        answers += usize::from(status == 200);
    }
    let heads = origin.heads.lock().unwrap().clone();
    for i in 0..20 {
        let times = heads.iter().filter(|head| head.starts_with(&format!("POST /{i} "))).count();
        assert_eq!(times, 1, "POST /{i} came {times} times");
    }
    assert!((10..20).contains(&answers), "{answers}");
}

#[test]
fn put_with_body_is_not_sent_twice() {
    let origin = closes_on_the_second();
    let proxy = Proxy::configured(&shop(1, vec![live(BLUE, &[origin.address])]), |config| config.workers = 1);
    let mut conn = proxy.connect();
    for i in 0..10 {
        conn.send(format!("PUT /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
        conn.answer();
    }
    let heads = origin.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 10, "{heads:?}");
}

#[test]
fn request_is_not_resent_after_answer_began() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 2")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    assert_eq!(proxy.get("shop.test", "/").status(), 502);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn refusing_instance_is_skipped_for_any_method() {
    let origin = Origin::named("alive");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[nobody(), origin.address])]));
    let mut conn = proxy.connect();
    for i in 0..20 {
        conn.send(format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
        let answer = conn.answer();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().ends_with("hello"));
    }
    assert_eq!(origin.requests(), 20);
    let traffic = traffic(&proxy, BLUE);
    assert_eq!(traffic.failures.connect, traffic.retries);
    assert!(traffic.failures.connect > 0);
    assert_eq!(traffic.instances[0].connect_failures, traffic.failures.connect);
    assert_eq!(traffic.in_flight, 0);
}

#[test]
fn expected_body_reaches_replacement_instance() {
    let origin = Origin::raw(|conn, _| {
        conn.read_head()?;
        conn.try_send("HTTP/1.1 100 Continue\r\n\r\n")?;
        conn.read_exactly(5)?;
        conn.try_send(OK)
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[nobody()]), fallback(GREEN, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(conn.read_head().unwrap().starts_with("HTTP/1.1 100"));
    conn.send("hello");
    assert_eq!(conn.answer().status(), 200);
}

#[test]
fn fallback_answers_when_live_slot_is_unreachable() {
    let old = Origin::named("old");
    let proxy = Proxy::with(&shop(1, vec![live(GREEN, &[nobody(), nobody()]), fallback(BLUE, &[old.address])]));
    let mut conn = proxy.connect();
    for _ in 0..5 {
        conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(conn.answer().header("x-origin").as_deref(), Some("old"));
    }
    let (green, blue) = (traffic(&proxy, GREEN), traffic(&proxy, BLUE));
    assert_eq!((blue.fallbacks, blue.answers.success), (5, 5));
    assert_eq!((green.failures.connect, green.answers.success), (10, 0));
    assert_eq!((green.in_flight, blue.in_flight), (0, 0));
}

#[test]
fn fallback_answers_when_live_slot_has_no_instances() {
    let old = Origin::named("old");
    let proxy = Proxy::with(&shop(1, vec![live(GREEN, &[]), fallback(BLUE, &[old.address])]));
    assert_eq!(proxy.get("shop.test", "/").header("x-origin").as_deref(), Some("old"));
}

#[test]
fn get_falls_back_when_new_slot_drops_it_and_post_does_not() {
    let new = Origin::raw(|conn, _| conn.read_message("").map(drop));
    let old = Origin::named("old");
    let proxy = Proxy::with(&shop(1, vec![live(GREEN, &[new.address]), fallback(BLUE, &[old.address])]));
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/").header("x-origin").as_deref(), Some("old"));
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(conn.answer().status(), 502);
    assert!(old.heads.lock().unwrap().iter().all(|head| head.starts_with("GET ")));
}

#[test]
fn get_falls_back_after_kept_and_fresh_connection_break() {
    // A crash of an instance as the proxy sees it: the connection in use breaks, and one more is accepted before the end.
    let new = Origin::raw(|conn, _| {
        if conn.read_message("")?.head.starts_with("GET /first ") {
            conn.try_send(OK)?;
            conn.read_message("")?;
        }
        Ok(())
    });
    let old = Origin::named("old");
    let proxy =
        Proxy::configured(&shop(1, vec![live(GREEN, &[new.address]), fallback(BLUE, &[old.address])]), |config| {
            config.workers = 1
        });
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/first").status(), 200);
    assert_eq!(conn.get("/").header("x-origin").as_deref(), Some("old"));
    assert_eq!(new.connections(), 2);
    assert_eq!(old.requests(), 1);
}

#[test]
fn page_502_is_answered_when_no_instance_is_reachable() {
    let proxy = Proxy::with(&shop(1, vec![live(GREEN, &[nobody()]), fallback(BLUE, &[nobody()])]));
    let answer = proxy.get("shop.test", "/");
    assert_eq!((answer.status(), answer.header("retry-after").as_deref()), (502, Some("2")));
    assert_eq!(proxy.status().groups[&key("shop")].bad_gateway, 1);
    let custom = shop_with(2, vec![live(GREEN, &[nobody()])], |forward| {
        forward.error_page = Some("<h1>Soon</h1>".to_owned());
        forward.retry_after_s = 7;
    });
    proxy.put(&custom);
    let answer = proxy.get("shop.test", "/");
    assert_eq!((answer.text().as_str(), answer.header("retry-after").as_deref()), ("<h1>Soon</h1>", Some("7")));
}

#[test]
fn posts_succeed_when_origin_closes_idle_connections() {
    // Closes each connection 30 ms after its answer: at that moment there is no request on it.
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send(OK)?;
        conn.stream.set_read_timeout(Some(std::time::Duration::from_millis(30)))?;
        loop {
            match conn.read_message("") {
                Ok(_) => conn.try_send(OK)?,
                Err(error) => return Err(error),
            }
        }
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for _ in 0..10 {
        conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(conn.answer().status(), 200);
        let closed = origin.connections();
        // The origin closes in the meantime; the next request copes with that.
        assert!(conn.is_quiet_for(std::time::Duration::from_millis(45)));
        assert_eq!(origin.connections(), closed);
    }
}

#[test]
fn returning_instance_is_used_again() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let flapping = Origin::raw(move |conn, _| {
        if !up.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        while conn.read_message("").is_ok() {
            conn.stream.write_all(b"HTTP/1.1 200 OK\r\nX-Origin: new\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let old = Origin::named("old");
    let proxy = Proxy::with(&shop(1, vec![live(GREEN, &[flapping.address]), fallback(BLUE, &[old.address])]));
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/").header("x-origin").as_deref(), Some("old"));
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(conn.get("/").header("x-origin").as_deref(), Some("new"));
}

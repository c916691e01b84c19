//! Bodies stream through in both directions, together with their heads, interim answers and trailers.

use crate::harness::*;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn large_body_arrives_whole_in_both_directions() {
    let origin = Origin::raw(|conn, _| {
        loop {
            let message = conn.read_message("")?;
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", message.body.len()).into_bytes();
            answer.extend(message.body.iter().rev());
            conn.try_send(answer)?;
        }
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let body: Vec<u8> = (0..5_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut conn = proxy.connect();
    for _ in 0..2 {
        conn.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        conn.send(&body);
        let answer = conn.answer();
        assert!(answer.body.iter().rev().eq(body.iter()));
    }
    // The connection is reused. Not for a POST: on a slow machine the connection may have been idle for too long by then.
    let connections = origin.connections();
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(conn.answer().status(), 200);
    assert_eq!(origin.connections(), connections);
}

#[test]
fn request_body_is_streamed() {
    let (seen, sees) = mpsc::channel();
    let origin = Origin::raw(move |conn, _| {
        conn.read_head()?;
        let first = conn.read_exactly(5)?;
        seen.send(first).ok();
        conn.read_exactly(5)?;
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    assert_eq!(sees.recv_timeout(PATIENCE).unwrap(), b"first");
    conn.send("later");
    assert_eq!(conn.answer().status(), 200);
}

#[test]
fn answer_body_is_streamed() {
    let (go_on, goes_on) = mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let origin = Origin::raw(move |conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
        conn.try_send("5\r\nlater\r\n0\r\n\r\n")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    conn.read_until("5\r\nfirst\r\n").unwrap();
    assert_eq!(proxy.status().placements[&BLUE.parse().unwrap()].in_flight, 1);
    go_on.send(()).unwrap();
    conn.read_until("5\r\nlater\r\n0\r\n\r\n").unwrap();
    assert_eq!(conn.get("/").status(), 200);
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::raw(|conn, _| {
        let message = conn.read_message("")?;
        assert_eq!(message.header("transfer-encoding").as_deref(), Some("chunked"));
        let text = format!("{}|{}", String::from_utf8_lossy(&message.body), message.trailers.trim_end());
        conn.try_send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{:x}\r\n{text}\r\n0\r\nX-Sum: 42\r\n\r\n",
            text.len()
        ))
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Check\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Check: 7\r\n\r\n",
    );
    let answer = conn.answer();
    assert_eq!(answer.text().to_lowercase(), "abcdefg|x-check: 7");
    assert_eq!(answer.trailers.to_lowercase(), "x-sum: 42\r\n");
}

#[test]
fn head_answer_has_length_and_no_body() {
    let origin = Origin::answering(|message| {
        let body = if message.head.starts_with("HEAD") { "" } else { "hello" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for _ in 0..3 {
        conn.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = conn.answer_to("HEAD");
        assert_eq!((answer.status(), answer.header("content-length").as_deref()), (200, Some("5")));
        assert_eq!(conn.get("/").text(), "hello");
    }
}

#[test]
fn answers_without_body_stay_without_body() {
    let origin = Origin::answering(|message| {
        match message.head.split(' ').nth(1).unwrap() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            _ => "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        }
        .to_owned()
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for (path, status) in [("/204", 204), ("/304", 304), ("/empty", 200), ("/chunked", 201), ("/204", 204)] {
        let answer = conn.get(path);
        assert_eq!((answer.status(), answer.body.len()), (status, 0), "{path}");
        assert!(status != 204 || answer.header("content-length").is_none());
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn body_waits_for_100_continue_of_application() {
    let (seen, sees) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    let origin = Origin::raw(move |conn, _| {
        let head = conn.read_head()?;
        seen.send(header_values(&head, "expect")).ok();
        goes_on.lock().unwrap().recv_timeout(PATIENCE).ok();
        conn.try_send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = conn.read_exactly(5)?;
        conn.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", String::from_utf8_lossy(&body)))
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(sees.recv_timeout(PATIENCE).unwrap(), ["100-continue"]);
    assert!(conn.is_quiet_for(Duration::from_millis(50)), "the data plane answered for the application");
    go_on.send(()).unwrap();
    assert_eq!(conn.read_head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    conn.send("hello");
    assert_eq!(conn.answer().text(), "hello");
}

#[test]
fn refused_expectation_sends_no_body() {
    let origin = Origin::raw(|conn, _| {
        conn.read_head()?;
        conn.try_send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")?;
        // Nothing more may come.
        assert!(conn.read_exactly(1).is_err());
        Ok(())
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = conn.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
}

#[test]
fn body_is_sent_after_wait_without_100_continue() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(conn.read_head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    conn.send("hello");
    assert!(conn.answer().text().ends_with("hello"));
}

#[test]
fn interim_answers_reach_client_before_final_answer() {
    let origin = Origin::raw(|conn, _| {
        loop {
            let message = conn.read_message("")?;
            conn.try_send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\n\r\n")?;
            if message.head.starts_with("GET /two") {
                conn.try_send("HTTP/1.1 102 Processing\r\n\r\n")?;
            }
            conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
        }
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for _ in 0..20 {
        conn.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
        let early = conn.read_head().unwrap();
        assert!(early.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{early}");
        assert_eq!(header_values(&early, "link"), ["</a.css>; rel=preload"]);
        assert!(header_values(&early, "connection").is_empty());
        let rest = conn.read_head().unwrap();
        if rest.starts_with("HTTP/1.1 102") {
            assert_eq!(conn.answer().text(), "hi");
        } else {
            // The two answers arrived in pieces.
            assert_eq!(conn.read_exactly(2).unwrap(), b"hi");
        }
    }
    let mut old = proxy.connect();
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(old.answer().head.starts_with("HTTP/1.1 200 OK\r\n") || old.rest.is_empty());
}

#[test]
fn truncated_answer_is_not_completed() {
    let origin = Origin::raw(|conn, _| {
        let message = conn.read_message("")?;
        let length =
            if message.head.starts_with("GET /chunked") { "Transfer-Encoding: chunked" } else { "Content-Length: 100" };
        conn.try_send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n5\r\nhello\r\n"))
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    for path in ["/chunked", "/length"] {
        let mut conn = proxy.connect();
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(conn.read_message("GET").is_err(), "{path}");
    }
    wait_for("two resets", || (proxy.status().placements[&BLUE.parse().unwrap()].failures.reset == 2).then_some(()));
}

#[test]
fn early_answer_reaches_client_that_still_sends() {
    let origin = Origin::raw(|conn, _| {
        conn.read_head()?;
        conn.try_send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")?;
        conn.read_to_end();
        Ok(())
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome");
    let answer = conn.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
}

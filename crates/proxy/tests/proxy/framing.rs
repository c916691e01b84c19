//! Requests whose framing has two readings are refused, and no part of them reaches an application.

use crate::harness::*;

/// Header lines and payload after the request line, and the status of the refusal.
const PAYLOADS: &[(&str, &str, u16)] = &[
    // Two lengths.
    ("CL.TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("TE.CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    ("CL twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("CL twice, equal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("CL list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    (
        "CL zero and TE",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    // Malformed lengths.
    ("CL plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("CL minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400),
    ("CL hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    ("CL empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhello", 400),
    ("CL letters", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello", 400),
    ("CL inner space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 5\r\n\r\nhello", 400),
    ("CL fraction", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello", 400),
    ("CL overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello", 400),
    ("CL vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b5\r\n\r\nhello", 400),
    // Transfer encodings.
    ("TE identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ("TE gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ("TE gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("TE chunked, gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    ("TE chunked, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "TE twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("TE x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("TE quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("TE empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("TE parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    ("TE vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // White space and names.
    ("space before colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400),
    ("tab before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    ("obs-fold", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 5\r\n\r\nhello", 400),
    ("obs-fold of TE", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("obs-fold by tab", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", 400),
    ("first header folded", "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", 400),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
    ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
    ("name with brackets", "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n", 400),
    ("name with NUL", "GET / HTTP/1.1\r\nHost: a\r\nX\0Y: z\r\n\r\n", 400),
    ("name beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\nXä: z\r\n\r\n", 400),
    ("value with NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400),
    ("value with CR", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\nhello", 400),
    ("value with DEL", "GET / HTTP/1.1\r\nHost: a\r\nX: y\x7f\r\n\r\n", 400),
    // Line ends.
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("bare LF after a header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("only LF", "GET / HTTP/1.1\nHost: a\n\n", 400),
    ("LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    // Request lines.
    ("no version", "GET /\r\nHost: a\r\n\r\n", 400),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("space in front", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("version 2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("relative target", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("target beyond ASCII", "GET /ä HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("target with a control character", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("method with a bracket", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n", 400),
    // Hosts.
    ("no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
    ("no host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("two hosts, equal", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("host with a user", "GET / HTTP/1.1\r\nHost: x@a\r\n\r\n", 400),
    ("host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("host with a bad port", "GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n", 400),
    ("absolute target with a user", "GET http://x@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // Expectations.
    ("expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417),
];

/// Malformed chunked bodies.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
    ("size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
    ("size with a space in front", " 3\r\nabc\r\n0\r\n\r\n"),
    ("size with a space behind", "3 \r\nabc\r\n0\r\n\r\n"),
    ("size with an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
    ("no size", "\r\nabc\r\n0\r\n\r\n"),
    ("size too long", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("size that overflows", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("size ended by LF", "3\nabc\r\n0\r\n\r\n"),
    ("size ended by CR CR", "3\r\rabc\r\n0\r\n\r\n"),
    ("data ended by LF", "3\r\nabc\n0\r\n\r\n"),
    ("data longer than said", "3\r\nabcd\r\n0\r\n\r\n"),
    ("extension with LF", "3;x\n\r\nabc\r\n0\r\n\r\n"),
    ("extension with NUL", "3;x\0\r\nabc\r\n0\r\n\r\n"),
    ("trailer without colon", "3\r\nabc\r\n0\r\nX\r\n\r\n"),
    ("trailer with a space before the colon", "3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
    ("trailer that is folded", "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ("trailer ended by LF", "3\r\nabc\r\n0\r\nX: y\n\r\n"),
    ("end by LF", "3\r\nabc\r\n0\r\n\n"),
];

fn proxy_with_origin() -> (Proxy, Origin) {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    (proxy, origin)
}

#[test]
fn ambiguous_heads_are_refused_and_connection_closed() {
    let (proxy, origin) = proxy_with_origin();
    for (name, payload, status) in PAYLOADS {
        let mut conn = proxy.connect();
        // A smuggled request follows.
        conn.send(format!("{payload}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = conn.answer();
        assert_eq!(answer.status(), *status, "{name}: {}", answer.head);
        assert_eq!(answer.header("connection").as_deref(), Some("close"), "{name}");
        assert!(conn.is_ended(), "{name}: the connection goes on");
    }
    assert_eq!(origin.requests(), 0, "{:?}", origin.heads.lock().unwrap());
    assert_eq!(proxy.status().unrouted.refused, PAYLOADS.len() as u64);
}

#[test]
fn ambiguous_heads_are_refused_byte_by_byte() {
    let (proxy, origin) = proxy_with_origin();
    for (name, payload, status) in PAYLOADS {
        let mut conn = proxy.connect();
        for byte in payload.as_bytes().chunks(1) {
            if conn.try_send(byte).is_err() {
                break;
            }
        }
        let answer = conn.answer();
        assert_eq!(answer.status(), *status, "{name}");
        assert!(conn.is_ended(), "{name}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn refused_request_after_good_request_is_answered_in_order() {
    let (proxy, origin) = proxy_with_origin();
    for (name, payload, status) in PAYLOADS.iter().filter(|(name, ..)| *name != "two empty lines first") {
        let mut conn = proxy.connect();
        conn.send(format!("POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{payload}"));
        assert_eq!(conn.answer().status(), 200, "{name}");
        assert_eq!(conn.answer().status(), *status, "{name}");
        assert!(conn.is_ended(), "{name}");
    }
    assert!(origin.heads.lock().unwrap().iter().all(|head| head.starts_with("POST /good ")));
}

#[test]
fn malformed_chunked_body_is_refused_and_never_complete() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ncomplete")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    for (name, body) in BAD_CHUNKS {
        let mut conn = proxy.connect();
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let answer = conn.answer();
        assert_eq!(answer.status(), 400, "{name}: {}", answer.head);
        assert!(conn.is_ended(), "{name}");
    }
    assert!(origin.heads.lock().unwrap().iter().all(|head| head.starts_with("POST / ")));
}

#[test]
fn unusual_but_unambiguous_requests_are_served() {
    let (proxy, _origin) = proxy_with_origin();
    for request in [
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHOST:a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t a \t\r\nX:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n3;name=value\r\nabc\r\n000\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00005\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTE: chunked\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let mut conn = proxy.connect();
        conn.send(request);
        assert_eq!(conn.answer().status(), 200, "{request:?}");
        assert_eq!(conn.get("/next").status(), 200, "{request:?}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (proxy, origin) = proxy_with_origin();
    let mut conn = proxy.connect();
    let requests: Vec<String> = (0..100)
        .map(|i| match i % 3 {
            0 => format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET "),
            _ => format!("POST /{i} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n"),
        })
        .collect();
    conn.send(requests.concat());
    for i in 0..100 {
        let text = conn.answer().text();
        assert!(text.split(' ').nth(1) == Some(&format!("/{i}")), "{i}: {text}");
    }
    assert_eq!(origin.requests(), 100);
}

#[test]
fn too_large_head_is_refused() {
    let (proxy, origin) = proxy_with_origin();
    let long = "x".repeat(70_000);
    let many: String = (0..101).map(|i| format!("X-{i}: y\r\n")).collect();
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{long}"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ] {
        let mut conn = proxy.connect();
        // The refusal may arrive before everything is sent.
        let _ = conn.try_send(&request);
        assert_eq!(conn.answer().status(), status);
        assert!(conn.is_ended());
    }
    assert_eq!(origin.requests(), 0);
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    let mut conn = proxy.connect();
    conn.send(fits);
    assert_eq!(conn.answer().status(), 200);
    let fits: String = (0..99).map(|i| format!("X-{i}: y\r\n")).collect();
    assert_eq!(proxy.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}", fits.trim_end())).status(), 200);
}

#[test]
fn chunk_extensions_and_trailers_have_limit() {
    let (proxy, _origin) = proxy_with_origin();
    let extensions = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(20);
    let trailers = format!("X: {}\r\n", "t".repeat(10_000));
    for (body, status) in [(format!("{extensions}0\r\n\r\n"), 400), (format!("0\r\n{trailers}\r\n"), 431)] {
        let mut conn = proxy.connect();
        conn.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(conn.answer().status(), status);
        assert!(conn.is_ended());
    }
}

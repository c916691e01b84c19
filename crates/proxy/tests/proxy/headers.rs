//! Headers as the application sees those of a request, and the client those of an answer.

use crate::harness::*;

/// The head that the application received for a request with these header lines.
fn seen(lines: &str) -> String {
    seen_with(false, &format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{lines}"))
}

fn seen_with(trust: bool, request: &str) -> String {
    let origin = Origin::named("blue");
    let table = shop_with(1, vec![live(BLUE, &[origin.address])], |forward| forward.trust_forwarded = trust);
    let proxy = Proxy::with(&table);
    let answer = proxy.ask(request.trim_end());
    assert_eq!(answer.status(), 200, "{request}");
    origin.head()
}

#[test]
fn application_receives_origin_of_request() {
    let head = seen("");
    for (name, value) in [
        ("host", "shop.test"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
        ("forwarded", "for=127.0.0.1;host=\"shop.test\";proto=http"),
    ] {
        assert_eq!(header_values(&head, name), [value], "{head}");
    }
    let id = &header_values(&head, "x-request-id")[0];
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn request_gets_unique_id() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    for _ in 0..4 {
        let mut conn = proxy.connect();
        (0..100).for_each(|_| drop(conn.get("/")));
    }
    let heads = origin.heads.lock().unwrap().clone();
    let ids: std::collections::BTreeSet<_> = heads.iter().map(|head| header_values(head, "x-request-id")).collect();
    assert_eq!(ids.len(), 400);
}

#[test]
fn forwarded_headers_of_untrusted_client_are_replaced() {
    let head = seen(
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Ssl: on\r\n\
         X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\nX-Custom: kept\r\n",
    );
    assert_eq!(header_values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(header_values(&head, "x-custom"), ["kept"]);
    for trace in ["6.6.6.6", "7.7.7.7", "https", "evil", "mine", "prefix", "-port", "-ssl", "real-ip"] {
        assert!(!head.to_lowercase().contains(trace), "{trace} in {head}");
    }
}

#[test]
fn forwarded_headers_of_trusted_proxy_are_extended() {
    let head = seen_with(
        true,
        "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.test\r\nForwarded: for=9.9.9.9;proto=https\r\n\
         X-Request-Id: theirs\r\nX-Forwarded-Port: 443",
    );
    for (name, value) in [
        ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "www.test"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=9.9.9.9;proto=https, for=127.0.0.1;host=\"shop.test\";proto=http"),
        ("x-request-id", "theirs"),
    ] {
        assert_eq!(header_values(&head, name), [value], "{head}");
    }
}

#[test]
fn forwarded_headers_are_added_when_trusted_proxy_sends_none() {
    let head = seen_with(true, "GET / HTTP/1.1\r\nHost: shop.test");
    assert_eq!(header_values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(header_values(&head, "x-request-id").len(), 1);
}

#[test]
fn hop_by_hop_headers_are_removed() {
    let head = seen(
        "Connection: keep-alive, X-Secret, close-ish\r\nConnection: X-Other\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\
         Proxy-Authorization: Basic eDp5\r\nX-Secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n",
    );
    assert_eq!(header_values(&head, "x-kept"), ["3"]);
    for name in
        ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings", "x-secret", "x-other"]
    {
        assert!(header_values(&head, name).is_empty(), "{name} in {head}");
    }
}

#[test]
fn host_and_content_length_stay_when_named_hop_by_hop() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("POST / HTTP/1.1\r\nHost: shop.test\r\nConnection: host, content-length, x-forwarded-for\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(conn.answer().status(), 200);
    let head = origin.head();
    assert_eq!(header_values(&head, "host"), ["shop.test"]);
    assert_eq!(header_values(&head, "content-length"), ["2"]);
    assert_eq!(header_values(&head, "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn headers_disguised_by_underscores_are_removed() {
    let head = seen(
        "X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\
         Host_: x\r\nX_Real_IP: 6.6.6.6\r\napi_key: kept\r\n",
    );
    assert_eq!(header_values(&head, "api_key"), ["kept"]);
    for trace in ["6.6.6.6", "https", "content_length", "transfer_encoding", "x_real"] {
        assert!(!head.to_lowercase().contains(trace), "{trace} in {head}");
    }
}

#[test]
fn proxy_header_is_removed() {
    assert!(header_values(&seen("Proxy: http://evil.test\r\n"), "proxy").is_empty());
}

#[test]
fn te_trailers_is_forwarded() {
    let head = seen("TE: trailers, gzip;q=0.5\r\nConnection: TE\r\n");
    assert_eq!(header_values(&head, "te"), ["trailers"]);
    assert_eq!(header_values(&head, "connection"), ["te"]);
}

#[test]
fn cookies_and_repeated_headers_arrive_unchanged() {
    let head = seen("Cookie: a=1; b=2\r\nAccept: x\r\nAccept: y\r\nAuthorization: Bearer z\r\nX-Bytes: caf\u{e9}\r\n");
    assert_eq!(header_values(&head, "accept"), ["x", "y"]);
    assert_eq!(header_values(&head, "cookie"), ["a=1; b=2"]);
    assert_eq!(header_values(&head, "authorization"), ["Bearer z"]);
    assert_eq!(header_values(&head, "x-bytes"), ["caf\u{e9}"]);
}

#[test]
fn request_target_arrives_unchanged() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    for target in ["/a%2fb/../c//d?x=%zz&y=a+b", "/%00", "/?", "/a;b=c,d", "/~!$&'()*+,;=:@"] {
        let answer = proxy.get("shop.test", target);
        assert!(answer.text().starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {}", answer.head);
    }
}

#[test]
fn hop_by_hop_headers_of_answer_are_removed() {
    let origin = Origin::answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\n\
         X-Internal: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nServer: theirs\r\nContent-Length: 2\r\n\r\nhi"
            .to_owned()
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let answer = proxy.get("shop.test", "/");
    assert_eq!(answer.all("set-cookie"), ["a", "b"]);
    assert_eq!(answer.header("server").as_deref(), Some("theirs"));
    for name in ["connection", "keep-alive", "proxy-connection", "x-internal"] {
        assert!(answer.header(name).is_none(), "{name} in {}", answer.head);
    }
}

#[test]
fn http_1_0_answer_reaches_client_as_http_1_1() {
    let origin = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.try_send("HTTP/1.0 200 OK\r\n\r\nuntil the end")
    });
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    for _ in 0..2 {
        let answer = conn.get("/");
        assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
        assert_eq!(answer.text(), "until the end");
    }
}

#[test]
fn http_1_0_client_is_served() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let mut conn = proxy.connect();
    conn.send("GET /old HTTP/1.0\r\nHost: shop.test\r\n\r\n");
    let answer = conn.answer();
    assert!(answer.text().starts_with("GET /old HTTP/1.1\r\n"), "{}", answer.text());
    assert!(conn.is_ended());
    let mut conn = proxy.connect();
    for _ in 0..2 {
        conn.send("GET /old HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(conn.answer().status(), 200);
    }
}

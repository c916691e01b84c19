//! Routing: hosts, paths, weights and replicas.

use crate::harness::*;
use std::collections::BTreeMap;

fn origin_of(answer: &Answer) -> String {
    answer.header("x-origin").unwrap_or_else(|| answer.status().to_string())
}

#[test]
fn exact_host_precedes_wildcard_and_any() {
    let origins = ["exact", "wildcard", "any"].map(Origin::named);
    let app = |app: &str, host: &str, origin: &Origin| {
        group(vec![route(host, "/", false)], vec![live(&format!("{app}/production/blue/1"), &[origin.address])])
    };
    let proxy = Proxy::with(&table(
        1,
        [
            ("exact", app("exact", "shop.example.com", &origins[0])),
            ("wild", app("wild", "*.example.com", &origins[1])),
            ("any", app("any", "*", &origins[2])),
        ],
    ));
    for (host, expected) in [
        ("shop.example.com", "exact"),
        ("SHOP.Example.COM", "exact"),
        ("shop.example.com.", "exact"),
        ("shop.example.com:8080", "exact"),
        ("other.example.com", "wildcard"),
        ("a.b.example.com", "any"),
        ("example.com", "any"),
        ("127.0.0.1:80", "any"),
        ("[::1]:80", "any"),
    ] {
        assert_eq!(origin_of(&proxy.get(host, "/")), expected, "{host}");
    }
}

#[test]
fn longest_prefix_of_whole_segments_wins() {
    let origins = ["root", "api", "v2"].map(Origin::named);
    let app = |app: &str, path: &str, origin: &Origin| {
        group(vec![route("shop.test", path, false)], vec![live(&format!("{app}/production/blue/1"), &[origin.address])])
    };
    let proxy = Proxy::with(&table(
        1,
        [
            ("root", app("root", "/", &origins[0])),
            ("api", app("api", "/api", &origins[1])),
            ("v2", app("v2", "/api/v2", &origins[2])),
        ],
    ));
    for (path, expected) in [
        ("/", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api?x=1", "api"),
        ("/apix", "root"),
        ("/api/v2", "v2"),
        ("/api/v2/x", "v2"),
        ("/api/v22", "api"),
        ("/x/api", "root"),
    ] {
        assert_eq!(origin_of(&proxy.get("shop.test", path)), expected, "{path}");
    }
}

#[test]
fn stripped_prefix_is_removed_and_sent_as_header() {
    let origin = Origin::named("api");
    let routes = vec![route("*", "/api", true)];
    let proxy = Proxy::with(&table(1, [("shop", group(routes, vec![live(BLUE, &[origin.address])]))]));
    for (path, seen) in [("/api", "/"), ("/api/", "/"), ("/api/x/y?z=1", "/x/y?z=1"), ("/api?z=1", "/?z=1")] {
        let answer = proxy.get("shop.test", path);
        assert!(answer.text().starts_with(&format!("GET {seen} HTTP/1.1\r\n")), "{path}: {}", answer.text());
        assert_eq!(header_values(&answer.text(), "x-forwarded-prefix"), ["/api"]);
    }
}

#[test]
fn missing_route_answers_404_and_missing_instance_503() {
    let origin = Origin::named("blue");
    let routes = vec![route("shop.test", "/here", false)];
    let proxy = Proxy::with(&table(1, [("shop", group(routes, vec![fallback(BLUE, &[origin.address])]))]));
    assert_eq!(proxy.get("other.test", "/").status(), 404);
    assert_eq!(proxy.get("shop.test", "/").status(), 404);
    let answer = proxy.get("shop.test", "/here");
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("2".to_owned())));
    assert_eq!(answer.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert!(answer.text().contains("503"), "{}", answer.text());
    let status = proxy.status();
    assert_eq!((status.unrouted.no_route, status.groups[&key("shop")].unavailable), (2, 1));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn empty_table_answers_404() {
    let proxy = Proxy::empty(|_| {});
    assert_eq!(proxy.get("shop.test", "/").status(), 404);
    let head = proxy.ask("HEAD / HTTP/1.1\r\nHost: shop.test");
    assert_eq!((head.status(), head.body.len()), (404, 0));
}

#[test]
fn absolute_target_authority_overrides_host_header() {
    let origin = Origin::named("blue");
    let routes = vec![route("right.test", "/", false)];
    let proxy = Proxy::with(&table(1, [("shop", group(routes, vec![live(BLUE, &[origin.address])]))]));
    let answer = proxy.ask("GET http://right.test:80/x?y HTTP/1.1\r\nHost: wrong.test");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().starts_with("GET /x?y HTTP/1.1\r\n"), "{}", answer.text());
    assert_eq!(header_values(&answer.text(), "host"), ["right.test:80"]);
    assert_eq!(proxy.ask("GET http://wrong.test/ HTTP/1.1\r\nHost: right.test").status(), 404);
    assert_eq!(proxy.ask("GET http://right.test HTTP/1.1\r\nHost: right.test").status(), 200);
}

#[test]
fn options_asterisk_is_forwarded() {
    let origin = Origin::named("blue");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[origin.address])]));
    let answer = proxy.ask("OPTIONS * HTTP/1.1\r\nHost: shop.test");
    assert!(answer.text().starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", answer.text());
}

#[test]
fn weights_divide_requests_between_slots() {
    use gapless_core::routes::SlotRole;
    let origins = ["blue", "green"].map(Origin::named);
    let slots = vec![
        slot(BLUE, SlotRole::Live, 9, &[origins[0].address]),
        slot(GREEN, SlotRole::Live, 1, &[origins[1].address]),
    ];
    let proxy = Proxy::with(&shop(1, slots));
    let mut conn = proxy.connect();
    let mut counts = BTreeMap::new();
    for _ in 0..1000 {
        *counts.entry(origin_of(&conn.get("/"))).or_insert(0) += 1;
    }
    // The expected value is 100, with a deviation of 9.5.
    assert!((50..=150).contains(&counts["green"]), "{counts:?}");
    assert_eq!(counts["blue"] + counts["green"], 1000);
}

#[test]
fn less_busy_replica_is_chosen() {
    // The first replica answers only at the end of the test.
    let slow = Origin::raw(|conn, _| {
        conn.read_message("")?;
        conn.read_head().map(drop)
    });
    let quick = Origin::named("quick");
    let proxy = Proxy::with(&shop(1, vec![live(BLUE, &[slow.address, quick.address])]));
    let mut stuck = proxy.connect();
    let mut conn = proxy.connect();
    wait_for("a request to hang", || {
        stuck.send("GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        if wait_for("a replica to be asked", || (slow.requests() + quick.requests() > 0).then(|| slow.requests())) > 0 {
            return Some(());
        }
        stuck.answer();
        quick.heads.lock().unwrap().clear();
        None
    });
    for _ in 0..50 {
        assert_eq!(origin_of(&conn.get("/")), "quick");
    }
    assert_eq!(slow.requests(), 1);
}

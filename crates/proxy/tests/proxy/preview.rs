//! The preview: only requests with the token reach the release under test.

use crate::harness::*;
use gapless_core::RouteTable;
use gapless_core::routes::PreviewRoute;
use std::sync::Arc;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Blue is live; green is tested, if there is one.
fn tested(version: u64, blue: &Origin, green: Option<&[std::net::SocketAddr]>) -> RouteTable {
    let mut group = group(vec![route("*", "/", false)], vec![live(BLUE, &[blue.address])]);
    group.preview = green.map(|green| PreviewRoute { token: TOKEN.to_owned(), slot: live(GREEN, green) });
    let mut table = table(version, []);
    table.groups.insert(key("shop"), Arc::new(group));
    table
}

fn origin_for(proxy: &Proxy, headers: &str) -> String {
    let mut conn = proxy.connect();
    conn.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let answer = conn.answer();
    answer.header("x-origin").unwrap_or_else(|| answer.status().to_string())
}

#[test]
fn preview_token_in_header_or_cookie_reaches_tested_release() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&tested(1, &blue, Some(&[green.address])));
    let wrong = TOKEN.replace('0', "1");
    for (headers, origin) in [
        (String::new(), "blue"),
        (format!("X-Gapless-Preview: {TOKEN}\r\n"), "green"),
        (format!("x-gapless-preview: {wrong}\r\n"), "404"),
        ("X-Gapless-Preview: \r\n".to_owned(), "404"),
        (format!("Cookie: gapless-preview={TOKEN}\r\n"), "green"),
        (format!("Cookie: a=b; gapless-preview={TOKEN}; c=d\r\n"), "green"),
        (format!("Cookie: gapless-preview={wrong}\r\n"), "blue"),
        (format!("Cookie: other={TOKEN}\r\n"), "blue"),
        ("X-Other: 1\r\n".to_owned(), "blue"),
    ] {
        assert_eq!(origin_for(&proxy, &headers), origin, "{headers}");
    }
    let seen = green.heads.lock().unwrap().join("\n").to_lowercase();
    assert!(!seen.contains("x-gapless-preview"), "the token is the proxy's and not the application's: {seen}");
}

#[test]
fn token_without_preview_never_reaches_live_release() {
    let blue = Origin::named("blue");
    let proxy = Proxy::with(&tested(1, &blue, None));
    assert_eq!(origin_for(&proxy, &format!("X-Gapless-Preview: {TOKEN}\r\n")), "404");
    assert_eq!(origin_for(&proxy, &format!("Cookie: gapless-preview={TOKEN}\r\n")), "blue");
}

#[test]
fn unreachable_preview_is_reported_without_fallback() {
    let blue = Origin::named("blue");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::with(&tested(1, &blue, Some(&[nobody])));
    assert_eq!(origin_for(&proxy, &format!("X-Gapless-Preview: {TOKEN}\r\n")), "502");
    assert_eq!(origin_for(&proxy, ""), "blue");
}

#[test]
fn tested_release_keeps_connections_and_counts_at_cutover() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&tested(1, &blue, Some(&[green.address])));
    let mut conn = proxy.connect();
    conn.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Gapless-Preview: {TOKEN}\r\n\r\n"));
    assert_eq!(conn.answer().header("x-origin").as_deref(), Some("green"));
    proxy.put(&shop(2, vec![live(GREEN, &[green.address]), fallback(BLUE, &[blue.address])]));
    assert_eq!(conn.get("/").header("x-origin").as_deref(), Some("green"));
    let status = proxy.status();
    assert_eq!(status.placements[&GREEN.parse().unwrap()].requests, 2);
}

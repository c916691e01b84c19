//! Two live slots: the split of requests between them, a slot that cannot take its share, and the counts.

use crate::harness::*;
use gapless_core::routes::{RouteTable, SlotRole, Split};
use gapless_core::strategy::{Choose, Matcher};
use std::net::SocketAddr;
use std::sync::Arc;

/// Blue is live, green receives `percent` of the requests by that rule.
fn canary(version: u64, blue: SocketAddr, green: SocketAddr, percent: u32, by: Choose) -> RouteTable {
    let slots =
        vec![slot(BLUE, SlotRole::Live, 100 - percent, &[blue]), slot(GREEN, SlotRole::Live, percent, &[green])];
    let mut group = group(vec![route("*", "/", false)], slots);
    if by != Choose::Random {
        group.split = Some(Split { to: GREEN.parse().unwrap(), by, key: "secret".to_owned() });
    }
    let mut table = table(version, []);
    table.groups.insert(key("shop"), Arc::new(group));
    table
}

/// Asks on one connection; returns the origin that answered, and its cookie.
fn ask(conn: &mut Conn, path: &str, headers: &str) -> (String, Option<String>) {
    conn.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let answer = conn.answer();
    let cookie = answer.header("set-cookie").and_then(|cookie| Some(cookie.split_once(';')?.0.to_owned()));
    (answer.header("x-origin").unwrap_or_else(|| answer.status().to_string()), cookie)
}

#[test]
fn random_share_matches_weight() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&canary(1, blue.address, green.address, 10, Choose::Random));
    let mut conn = proxy.connect();
    let total = 20_000;
    let new = (0..total).filter(|_| ask(&mut conn, "/", "").0 == "green").count();
    let share = 100.0 * new as f64 / f64::from(total);
    // Five standard deviations.
    assert!((share - 10.0).abs() < 1.1, "{share} %");
}

#[test]
fn sticky_visitor_stays_on_its_release_at_any_weight() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&canary(1, blue.address, green.address, 50, Choose::Sticky));
    let mut conn = proxy.connect();
    let visitors: Vec<_> = (0..40).map(|_| ask(&mut conn, "/", "")).collect();
    assert!(
        visitors.iter().any(|(origin, _)| origin == "blue") && visitors.iter().any(|(origin, _)| origin == "green")
    );
    for percent in [1, 50, 99] {
        proxy.put(&canary(1 + u64::from(percent), blue.address, green.address, percent, Choose::Sticky));
        for (origin, cookie) in &visitors {
            let header = format!("Cookie: a=b; {}\r\n", cookie.as_ref().expect("a new visitor gets a cookie"));
            assert_eq!(ask(&mut conn, "/", &header), (origin.clone(), None), "{header} at {percent} %");
        }
    }
    // All visitors of a release have the same signed mark.
    let forged = ask(&mut conn, "/", "Cookie: gapless-release-shop=00000000000000000000000000000000\r\n");
    assert!(forged.1.is_some(), "a forged cookie is that of a new visitor");
}

#[test]
fn sticky_visitor_moves_when_its_release_is_gone() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let proxy = Proxy::with(&canary(1, blue.address, green.address, 99, Choose::Sticky));
    let mut conn = proxy.connect();
    let cookie = std::iter::repeat_with(|| ask(&mut conn, "/", "")).find(|(origin, _)| origin == "green").unwrap().1;
    proxy.put(&canary(2, blue.address, green.address, 0, Choose::Sticky));
    assert_eq!(ask(&mut conn, "/", &format!("Cookie: {}\r\n", cookie.unwrap())).0, "blue");
}

#[test]
fn hash_split_of_header_values_is_stable() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let by = || Choose::Hash { header: "x-user".to_owned() };
    let proxy = Proxy::with(&canary(1, blue.address, green.address, 30, by()));
    let mut conn = proxy.connect();
    let side = |conn: &mut Conn, user: usize| ask(conn, "/", &format!("X-User: user-{user}\r\n")).0;
    let before: Vec<_> = (0..1000).map(|user| side(&mut conn, user)).collect();
    let new = before.iter().filter(|origin| *origin == "green").count();
    assert!((230..370).contains(&new), "{new} of 1,000");
    assert_eq!(ask(&mut conn, "/", "").0, "blue", "without the header");
    proxy.put(&canary(2, blue.address, green.address, 60, by()));
    for (user, origin) in before.iter().enumerate().filter(|(_, origin)| *origin == "green") {
        assert_eq!(side(&mut conn, user), *origin, "user {user} is moved back");
    }
}

#[test]
fn only_matching_requests_reach_new_release() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let by = Choose::Match(vec![
        Matcher::Header { name: "x-beta".to_owned(), value: "1".to_owned() },
        Matcher::Cookie { name: "beta".to_owned(), value: "yes".to_owned() },
        Matcher::Path("/new".parse().unwrap()),
    ]);
    let proxy = Proxy::with(&canary(1, blue.address, green.address, 1, by));
    let mut conn = proxy.connect();
    for (path, headers, origin) in [
        ("/", "", "blue"),
        ("/", "X-Beta: 1\r\n", "green"),
        ("/", "X-Beta: 2\r\n", "blue"),
        ("/", "Cookie: a=b; beta=yes\r\n", "green"),
        ("/", "Cookie: beta=no\r\n", "blue"),
        ("/new/x", "", "green"),
        ("/newer", "", "blue"),
    ] {
        assert_eq!(ask(&mut conn, path, headers).0, origin, "{path} {headers}");
    }
}

#[test]
fn refusing_canary_is_given_up_without_lost_request() {
    let blue = Origin::named("blue");
    let proxy = Proxy::configured(&canary(1, blue.address, nobody(), 50, Choose::Random), |config| config.workers = 1);
    let mut conn = proxy.connect();
    for _ in 0..200 {
        assert_eq!(ask(&mut conn, "/", "").0, "blue");
    }
    let status = proxy.status();
    let green = &status.placements[&GREEN.parse().unwrap()];
    assert_eq!(green.given_up, Some(10), "{green:?}");
    assert_eq!((green.requests, green.failures.connect, green.retries), (10, 10, 10), "no more than ten were tried");
    let blue = &status.placements[&BLUE.parse().unwrap()];
    assert_eq!((blue.requests, blue.given_up), (200, None));
    assert!(blue.latencies.iter().map(|(_, count)| count).sum::<u64>() == 200, "{:?}", blue.latencies);
}

#[test]
fn refusing_live_slot_is_given_up_until_next_table() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let slots = |green| vec![live(GREEN, &[green]), fallback(BLUE, &[blue.address])];
    let proxy = Proxy::configured(&shop(1, slots(nobody())), |config| config.workers = 1);
    let mut conn = proxy.connect();
    for _ in 0..50 {
        assert_eq!(ask(&mut conn, "/", "").0, "blue");
    }
    let seen = proxy.status().placements[&GREEN.parse().unwrap()].clone();
    assert_eq!((seen.given_up, seen.failures.connect), (Some(10), 10));
    proxy.put(&shop(2, slots(green.address)));
    assert_eq!(ask(&mut conn, "/", "").0, "green");
}

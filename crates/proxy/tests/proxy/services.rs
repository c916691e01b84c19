//! Several services in one application: each receives its own requests, and all change over in one table.

use crate::harness::*;
use gapless_core::RouteTable;
use gapless_core::routes::{Backend, PreviewRoute, SlotRoute};
use gapless_core::spec::Route;
use std::net::SocketAddr;
use std::sync::Arc;

fn to(path: &str, service: &str) -> Route {
    Route { service: service.parse().unwrap(), ..route("*", path, false) }
}

/// A live slot of the services `web` and `api`.
fn both(placement: &str, web: SocketAddr, api: SocketAddr) -> SlotRoute {
    let slot = live(placement, &[web]);
    let api = Backend { service: "api".parse().unwrap(), replica: 1, address: api };
    SlotRoute { instances: [slot.instances.clone(), vec![api]].concat(), ..slot }
}

fn shop_of_two(version: u64, slots: Vec<SlotRoute>, preview: Option<SlotRoute>) -> RouteTable {
    let mut group = group(vec![to("/", "web"), to("/api", "api")], slots);
    group.preview = preview.map(|slot| PreviewRoute { token: "token".to_owned(), slot });
    let mut table = table(version, []);
    table.groups.insert(key("shop"), Arc::new(group));
    table
}

fn origin_of(conn: &mut Conn, path: &str) -> String {
    conn.get(path).header("x-origin").unwrap_or_default()
}

#[test]
fn services_change_over_at_once_and_keep_their_routes() {
    let [blue_web, blue_api, green_web, green_api] =
        ["blue web", "blue api", "green web", "green api"].map(Origin::named);
    let blue = both(BLUE, blue_web.address, blue_api.address);
    let green = both(GREEN, green_web.address, green_api.address);
    let proxy = Proxy::with(&shop_of_two(1, vec![blue.clone()], Some(green.clone())));
    let mut conn = proxy.connect();
    assert_eq!(origin_of(&mut conn, "/"), "blue web");
    assert_eq!(origin_of(&mut conn, "/api/x"), "blue api");
    conn.send("GET /api HTTP/1.1\r\nHost: a\r\nX-Gapless-Preview: token\r\n\r\n");
    assert_eq!(conn.answer().header("x-origin").as_deref(), Some("green api"));
    proxy.put(&shop_of_two(2, vec![green], None));
    for path in ["/", "/api", "/api/x"] {
        let service = if path == "/" { "green web" } else { "green api" };
        assert_eq!(origin_of(&mut conn, path), service);
    }
    let status = proxy.status();
    assert_eq!(status.placements[&BLUE.parse().unwrap()].requests, 2, "a placement counts all of its services");
    assert_eq!(status.placements[&BLUE.parse().unwrap()].in_flight, 0);
}

#[test]
fn request_never_reaches_another_service_when_its_own_fails() {
    let web = Origin::named("web");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::with(&shop_of_two(1, vec![both(BLUE, web.address, nobody)], None));
    let mut conn = proxy.connect();
    for _ in 0..20 {
        assert_eq!(conn.get("/api").status(), 502);
    }
    assert_eq!(origin_of(&mut conn, "/"), "web");
    assert_eq!(web.requests(), 1);
}

#[test]
fn service_answers_503_alone_when_it_has_no_instance() {
    let web = Origin::named("web");
    let proxy = Proxy::with(&shop_of_two(1, vec![live(BLUE, &[web.address])], None));
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/api").status(), 503);
    assert_eq!(origin_of(&mut conn, "/"), "web");
}

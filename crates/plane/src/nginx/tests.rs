//! Snapshots of the generated configuration, and tests of it with a real nginx.

use super::choice;
use super::files::{self, Files};
use super::generate;
use super::location::Location;
use super::program;
use super::settings::NginxConfig;
use super::syntax::render;
use gapless_core::routes::{MaintenanceRoute, PreviewRoute, Split};
use gapless_core::spec::ForwardSettings;
use gapless_core::spec::Route;
use gapless_core::strategy::{Choose, Matcher};
use gapless_core::{AppKey, Backend, Millis, PlacementId, RouteGroup, ServiceName, Slot, SlotRole, SlotRoute};

pub(super) fn settings() -> NginxConfig {
    NginxConfig {
        config_dir: "/etc/nginx/gapless.d".into(),
        binary: "nginx".into(),
        config: "/etc/nginx/nginx.conf".into(),
        pid_file: "/run/nginx.pid".into(),
        status: "127.0.0.1:9180".parse().unwrap(),
        listen: vec!["127.0.0.1:8080".parse().unwrap()],
        worker_generations_max: 4,
        container: None,
        template: None,
    }
}

pub(super) fn key() -> AppKey {
    "shop/production".parse().unwrap()
}

pub(super) fn slot(slot: Slot, deployment: u64, weight: u32) -> SlotRoute {
    let backend = |service: &str, port: u16| Backend {
        service: service.parse().unwrap(),
        replica: 1,
        address: ([127, 0, 0, 1], port).into(),
    };
    let base = if slot == Slot::Blue { 9001 } else { 9002 };
    SlotRoute {
        placement: PlacementId { key: key(), slot, deployment },
        release: deployment,
        role: if weight > 0 { SlotRole::Live } else { SlotRole::Fallback },
        weight,
        instances: vec![backend("web", base), backend("web", base + 10), backend("api", base + 100)],
        drain_timeout: Millis::from_secs(30),
    }
}

pub(super) fn route(host: &str, path: &str, strip: bool, service: &str) -> Route {
    Route { host: host.parse().unwrap(), path: path.parse().unwrap(), strip, service: service.parse().unwrap() }
}

pub(super) fn group() -> RouteGroup {
    RouteGroup {
        routes: vec![route("shop.example.com", "/", false, "web"), route("shop.example.com", "/api", true, "api")],
        slots: vec![slot(Slot::Green, 7, 100), slot(Slot::Blue, 6, 0)],
        split: None,
        forward: ForwardSettings::default(),
        hold: None,
        maintenance: None,
        preview: None,
    }
}

pub(super) fn canary(by: Choose) -> RouteGroup {
    let split = (by != Choose::Random).then(|| Split { to: slot(Slot::Blue, 8, 1).placement, by, key: String::new() });
    let slots = vec![slot(Slot::Green, 7, 90), slot(Slot::Blue, 8, 10)];
    RouteGroup { routes: vec![route("*", "/", false, "web")], slots, split, ..group() }
}

fn of(group: &RouteGroup) -> Files {
    generate::application(&key(), group, &settings())
}

fn conf(group: &RouteGroup) -> String {
    of(group).remove(&files::file_of(&key())).unwrap()
}

pub(super) fn maintained() -> RouteGroup {
    let maintenance = MaintenanceRoute { page: Some("<p>back $soon".into()), health_paths: vec!["/up".into()] };
    let forward =
        ForwardSettings { error_page: Some("<p>sorry".into()), trust_forwarded: true, ..ForwardSettings::default() };
    RouteGroup { maintenance: Some(maintenance), forward, ..group() }
}

pub(super) fn previewed() -> RouteGroup {
    let preview = PreviewRoute { token: "to+ken".into(), slot: slot(Slot::Blue, 8, 100) };
    RouteGroup { preview: Some(preview), routes: vec![route("*.example.com", "/", false, "web")], ..group() }
}

#[test]
fn live_slot_with_two_services() {
    insta::assert_snapshot!(conf(&group()));
}

#[test]
fn preview_by_header_or_cookie() {
    insta::assert_snapshot!(conf(&previewed()));
}

#[test]
fn maintenance_with_pages() {
    let files = of(&maintained());
    assert_eq!(files["app-shop.production.maintenance.html"], "<p>back $soon");
    assert_eq!(files["app-shop.production.error.html"], "<p>sorry");
    insta::assert_snapshot!(conf(&maintained()));
}

#[test]
fn canary_slot_choice() {
    let matchers = vec![
        Matcher::Header { name: "X-Beta".into(), value: "a\"; }".into() },
        Matcher::Cookie { name: "beta-user".into(), value: "1".into() },
        Matcher::Path("/beta".parse().unwrap()),
    ];
    let text: Vec<_> = [Choose::Random, Choose::Hash { header: "X-User".into() }, Choose::Match(matchers)]
        .into_iter()
        .map(|by| render(&choice::directives(&canary(by), "gapless_shop").0))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[tokio::test]
async fn nginx_accepts_generated_configuration() {
    let mut groups = vec![group(), previewed(), maintained(), canary(Choose::Random)];
    groups.push(canary(Choose::Hash { header: "X-User".into() }));
    groups.push(canary(Choose::Match(vec![
        Matcher::Header { name: "X-Beta".into(), value: "a\"; }\\ $x ${y} ü".into() },
        Matcher::Cookie { name: "beta-user".into(), value: "1;2".into() },
        Matcher::Path("/beta(x)$'*".parse().unwrap()),
    ])));
    // No instance runs, nothing is live, and unusual paths.
    let mut empty = group();
    empty.slots[0].instances.clear();
    groups.push(empty);
    groups.push(RouteGroup { slots: Vec::new(), ..previewed() });
    groups.push(RouteGroup { slots: Vec::new(), ..group() });
    groups.push(RouteGroup { routes: vec![route("a.b", "/x$y'(1)~;", true, "web")], ..group() });
    for group in groups {
        let files = of(&group);
        let tested = program::test_alone(&Location::Host, &settings(), &files).await;
        assert_eq!(tested, Ok(()), "{}", conf(&group));
    }
}

#[tokio::test]
async fn nginx_error_names_file_and_line() {
    let broken =
        Files::from([(files::file_of(&key()), "server {\n    listen 127.0.0.1:8080;\n    nonsense;\n}\n".into())]);
    let why = program::test_alone(&Location::Host, &settings(), &broken).await.unwrap_err();
    assert!(why.contains("unknown directive \"nonsense\" in app-shop.production.conf:3"), "{why}");
    let missing = NginxConfig { binary: "/nowhere/nginx".into(), ..settings() };
    let why = program::test_alone(&Location::Host, &missing, &broken).await.unwrap_err();
    assert!(why.contains("install nginx, or set `binary`"), "{why}");
}

#[test]
fn services_have_their_own_upstreams() {
    let text = conf(&group());
    for service in ["web", "api"] {
        let service: ServiceName = service.parse().unwrap();
        assert!(text.contains(&format!("upstream shop.production.green-7.{service}.gapless")), "{text}");
    }
    assert!(!text.contains("blue-6"), "a fallback has no upstream: {text}");
}

#[tokio::test]
async fn nginx_accepts_application_with_long_name() {
    let key: AppKey = "the-shop-of-the-north/production-of-europe".parse().unwrap();
    let other: AppKey = "the-shop-of-the-south/production-of-europe".parse().unwrap();
    assert_ne!(generate::variable(&key), generate::variable(&other));
    for group in [group(), maintained(), canary(Choose::Hash { header: "X-User".into() })] {
        let files = generate::application(&key, &group, &settings());
        program::test_alone(&Location::Host, &settings(), &files).await.unwrap();
    }
}

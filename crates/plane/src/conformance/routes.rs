//! Routing: the slot that a request reaches, and the time from which a change applies.

use super::client::{get, send};
use super::origin::Origin;
use super::{DEADLINE, Subject, change, group, in_time, placement, route, slot, table};
use crate::plane::PlaneError;
use gapless_core::routes::{Backend, MaintenanceRoute, PREVIEW_HEADER, PreviewRoute, RouteGroup, SlotRole, SlotRoute};
use gapless_core::spec::Route;
use gapless_core::{ServiceName, Slot};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

const HOST: &str = "shop.example.com";
/// Clients that send requests during a change.
const CLIENTS: usize = 4;
/// Requests whose answers are counted.
const REQUESTS_TO_COUNT: usize = 120;
/// Requests that each client sends after the change.
const REQUESTS_AFTER: usize = 25;

fn live(deployment: u64, slot_name: Slot, address: SocketAddr) -> SlotRoute {
    slot(placement("shop", slot_name, deployment), SlotRole::Live, address)
}

fn shop(slots: Vec<SlotRoute>) -> RouteGroup {
    group(HOST, slots)
}

async fn body(subject: &Subject, path: &str) -> String {
    let answer = get(subject.address, HOST, path).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

pub(super) async fn follow_a_replaced_table(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let first = table(1, [("shop", shop(vec![live(1, Slot::Blue, blue.address)]))]);
    in_time("replace", subject.plane.replace(&first)).await.unwrap();
    assert_eq!(body(subject, "/a?b=c").await, "blue /a?b=c");
    let second = table(2, [("shop", shop(vec![live(2, Slot::Green, green.address)]))]);
    in_time("replace", subject.plane.replace(&second)).await.unwrap();
    assert_eq!(body(subject, "/").await, "green /");
    assert_eq!(get(subject.address, "other.example.com", "/").await.status, 404);
}

pub(super) async fn follow_a_change_at_once_and_lose_no_request(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let first = table(1, [("shop", shop(vec![live(1, Slot::Blue, blue.address)]))]);
    in_time("replace", subject.plane.replace(&first)).await.unwrap();
    let is_changed = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, is_changed) = (subject.address, is_changed.clone());
        clients.spawn(async move {
            let mut left = REQUESTS_AFTER;
            while left > 0 {
                let is_after = is_changed.load(Ordering::SeqCst);
                let answer = get(address, HOST, "/").await;
                assert_eq!(answer.status, 200, "a request failed during the change: {}", answer.body);
                if is_after {
                    assert_eq!(answer.body, "green /", "an acknowledged change was not applied");
                    left -= 1;
                }
            }
        });
    }
    assert_eq!(body(subject, "/").await, "blue /");
    let old = slot(placement("shop", Slot::Blue, 1), SlotRole::Fallback, blue.address);
    let new = shop(vec![live(2, Slot::Green, green.address), old]);
    in_time("change", subject.plane.change(&change(1, 2, "shop", Some(new)))).await.unwrap();
    is_changed.store(true, Ordering::SeqCst);
    tokio::time::timeout(DEADLINE, async { while clients.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .expect("the clients must finish in time");
}

pub(super) async fn stay_when_a_change_has_another_base(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let first = table(3, [("shop", shop(vec![live(1, Slot::Blue, blue.address)]))]);
    in_time("replace", subject.plane.replace(&first)).await.unwrap();
    let other = change(2, 4, "shop", Some(shop(vec![live(2, Slot::Green, green.address)])));
    let refused = in_time("change", subject.plane.change(&other)).await;
    assert!(matches!(refused, Err(PlaneError::OtherBase)), "{refused:?}");
    assert_eq!(body(subject, "/").await, "blue /");
}

pub(super) async fn are_the_same_after_a_repeated_table(subject: &Subject) {
    let blue = Origin::start("blue").await;
    let only = table(1, [("shop", shop(vec![live(1, Slot::Blue, blue.address)]))]);
    for _ in 0..2 {
        in_time("replace", subject.plane.replace(&only)).await.unwrap();
        assert_eq!(body(subject, "/").await, "blue /");
    }
}

pub(super) async fn end_when_their_group_is_removed(subject: &Subject) {
    let blue = Origin::start("blue").await;
    let mut other = slot(placement("blog", Slot::Blue, 1), SlotRole::Live, blue.address);
    other.release = 7;
    let both =
        [("shop", shop(vec![live(1, Slot::Blue, blue.address)])), ("blog", group("blog.example.com", vec![other]))];
    in_time("replace", subject.plane.replace(&table(1, both))).await.unwrap();
    assert_eq!(body(subject, "/").await, "blue /");
    in_time("change", subject.plane.change(&change(1, 2, "shop", None))).await.unwrap();
    assert_eq!(get(subject.address, HOST, "/").await.status, 404);
    assert_eq!(get(subject.address, "blog.example.com", "/").await.status, 200);
}

pub(super) async fn are_chosen_by_host_and_longest_path(subject: &Subject) {
    let (shop_origin, blog) = (Origin::start("shop").await, Origin::start("blog").await);
    let mut first = shop(vec![live(1, Slot::Blue, shop_origin.address)]);
    first.routes.push(route("*.shop.example.com", "/", false));
    let mut second = group("*", vec![slot(placement("blog", Slot::Green, 1), SlotRole::Live, blog.address)]);
    second.routes.push(route("blog.example.com", "/api", true));
    in_time("replace", subject.plane.replace(&table(1, [("shop", first), ("blog", second)]))).await.unwrap();
    for (host, path, expected) in [
        (HOST, "/x", "shop /x"),
        ("eu.shop.example.com", "/x", "shop /x"),
        ("somewhere.example.com", "/x", "blog /x"),
        ("blog.example.com", "/api/x", "blog /x"),
    ] {
        let answer = get(subject.address, host, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{host}{path}");
    }
    // The host decides first: another path of an exact host never reaches the wildcard's application.
    assert_eq!(get(subject.address, "blog.example.com", "/apis").await.status, 404);
}

pub(super) async fn answer_503_without_a_live_slot(subject: &Subject) {
    in_time("replace", subject.plane.replace(&table(1, [("shop", shop(Vec::new()))]))).await.unwrap();
    assert_eq!(get(subject.address, HOST, "/").await.status, 503);
}

/// The bodies of many answers, each with its number of occurrences.
async fn answers(subject: &Subject, path: &str) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..REQUESTS_TO_COUNT {
        *seen.entry(body(subject, path).await).or_default() += 1;
    }
    seen
}

pub(super) async fn use_every_instance(subject: &Subject) {
    let (first, second) = (Origin::start("first").await, Origin::start("second").await);
    let mut both = live(1, Slot::Blue, first.address);
    both.instances.push(Backend { service: Default::default(), replica: 2, address: second.address });
    in_time("replace", subject.plane.replace(&table(1, [("shop", shop(vec![both]))]))).await.unwrap();
    let seen = answers(subject, "/").await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["first /", "second /"], "{seen:?}");
}

pub(super) async fn keep_services_apart(subject: &Subject) {
    let (web, api) = (Origin::start("web").await, Origin::start("api").await);
    let api_name: ServiceName = "api".parse().unwrap();
    let mut both = live(1, Slot::Blue, web.address);
    both.instances.push(Backend { service: api_name.clone(), replica: 1, address: api.address });
    let mut two = shop(vec![both]);
    two.routes.push(Route { service: api_name, ..route(HOST, "/api", false) });
    in_time("replace", subject.plane.replace(&table(1, [("shop", two)]))).await.unwrap();
    assert_eq!(answers(subject, "/").await.into_keys().collect::<Vec<_>>(), ["web /"]);
    assert_eq!(answers(subject, "/api").await.into_keys().collect::<Vec<_>>(), ["api /api"]);
}

pub(super) async fn divide_requests_by_weight(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let (mut old, mut new) = (live(1, Slot::Blue, blue.address), live(2, Slot::Green, green.address));
    (old.weight, new.weight) = (50, 50);
    in_time("replace", subject.plane.replace(&table(1, [("shop", shop(vec![old, new]))]))).await.unwrap();
    let seen = answers(subject, "/").await;
    // Each slot misses its share by more than nine standard deviations once in 10^19 runs.
    for slot in ["blue /", "green /"] {
        assert!(seen.get(slot).is_some_and(|count| *count > REQUESTS_TO_COUNT / 10), "{seen:?}");
    }
}

pub(super) async fn reach_a_preview_only_with_its_token(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let mut tested = shop(vec![live(1, Slot::Blue, blue.address)]);
    tested.preview = Some(PreviewRoute { token: "secret".to_owned(), slot: live(2, Slot::Green, green.address) });
    in_time("replace", subject.plane.replace(&table(1, [("shop", tested)]))).await.unwrap();
    assert_eq!(body(subject, "/").await, "blue /");
    let with = async |token: &str| {
        let header = format!("{PREVIEW_HEADER}: {token}\r\n");
        in_time("a preview", async { send(subject.address, HOST, "/", &header).await.answer().await }).await
    };
    assert_eq!(with("secret").await.body, "green /");
    let refused = with("another").await;
    assert_eq!(refused.status, 404, "a wrong token must never reach the live slot: {}", refused.body);
}

pub(super) async fn answer_with_the_maintenance_page(subject: &Subject) {
    let blue = Origin::start("blue").await;
    let mut maintained = shop(vec![live(1, Slot::Blue, blue.address)]);
    let page = Some("<p>back at noon</p>".to_owned());
    maintained.maintenance = Some(MaintenanceRoute { page, health_paths: vec!["/up".to_owned()] });
    in_time("replace", subject.plane.replace(&table(1, [("shop", maintained)]))).await.unwrap();
    let answer = get(subject.address, HOST, "/").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "<p>back at noon</p>"));
    assert_eq!(body(subject, "/up").await, "blue /up");
}

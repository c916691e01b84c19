//! Requests in flight: reported until they end, and never cut.

use super::client::send;
use super::origin::{HALVES, Origin, SLOW};
use super::{Subject, change, group, in_time, placement, slot, table};
use gapless_core::routes::{PREVIEW_HEADER, PreviewRoute, SlotRole};
use gapless_core::{PlacementId, Slot};
use std::time::Duration;

const HOST: &str = "shop.example.com";
/// The pause between two reads of a status.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Starts a slow request on blue, then moves all routes to green.
async fn change_during_a_request(subject: &Subject, blue: &Origin, green: &Origin) -> super::client::Pending {
    let old = slot(placement("shop", Slot::Blue, 1), SlotRole::Live, blue.address);
    in_time("replace", subject.plane.replace(&table(1, [("shop", group(HOST, vec![old]))]))).await.unwrap();
    let mut request = send(subject.address, HOST, SLOW, "").await;
    in_time("the first half", request.read_until(HALVES.0)).await;
    let new = slot(placement("shop", Slot::Green, 2), SlotRole::Live, green.address);
    let moved = change(1, 2, "shop", Some(group(HOST, vec![new])));
    in_time("change", subject.plane.change(&moved)).await.unwrap();
    request
}

async fn is_drained(subject: &Subject, placement: &PlacementId) -> bool {
    let status = in_time("status", subject.plane.status()).await.unwrap();
    !status.is_in_flight_unknown && status.in_flight.get(placement).is_none_or(|count| *count == 0)
}

/// Waits until the data plane reports that nothing is in flight.
async fn drains(subject: &Subject, placement: &PlacementId) {
    in_time("the drain", async {
        while !is_drained(subject, placement).await {
            tokio::time::sleep(POLL_EVERY).await;
        }
    })
    .await;
}

pub(super) async fn report_a_request_until_it_ends(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let request = change_during_a_request(subject, &blue, &green).await;
    let old = placement("shop", Slot::Blue, 1);
    assert!(!is_drained(subject, &old).await, "a slot with a request in flight was reported as drained");
    blue.finish_slow();
    in_time("the second half", request.answer()).await;
    drains(subject, &old).await;
}

pub(super) async fn report_a_preview_request_until_it_ends(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let live = slot(placement("shop", Slot::Blue, 1), SlotRole::Live, blue.address);
    let tested = placement("shop", Slot::Green, 2);
    let preview = slot(tested.clone(), SlotRole::Live, green.address);
    let mut group_with_preview = group(HOST, vec![live.clone()]);
    group_with_preview.preview = Some(PreviewRoute { token: "secret".to_owned(), slot: preview });
    in_time("replace", subject.plane.replace(&table(1, [("shop", group_with_preview)]))).await.unwrap();
    let mut request = send(subject.address, HOST, SLOW, &format!("{PREVIEW_HEADER}: secret\r\n")).await;
    in_time("the first half", request.read_until(HALVES.0)).await;
    let without = change(1, 2, "shop", Some(group(HOST, vec![live])));
    in_time("change", subject.plane.change(&without)).await.unwrap();
    assert!(!is_drained(subject, &tested).await, "a slot under test with a request in flight was reported as drained");
    green.finish_slow();
    in_time("the second half", request.answer()).await;
    drains(subject, &tested).await;
}

pub(super) async fn let_a_request_finish_on_its_slot(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let request = change_during_a_request(subject, &blue, &green).await;
    blue.finish_slow();
    let answer = in_time("the second half", request.answer()).await;
    assert_eq!((answer.status, answer.body), (200, format!("{}{}", HALVES.0, HALVES.1)));
}

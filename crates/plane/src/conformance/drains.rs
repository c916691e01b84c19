//! Requests in flight: reported until they end, and never cut.

use super::client::send;
use super::origin::{HALVES, Origin, SLOW};
use super::{Subject, change, group, in_time, placement, slot, table};
use gapless_core::Slot;
use gapless_core::routes::SlotRole;
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

pub(super) async fn report_a_request_until_it_ends(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let request = change_during_a_request(subject, &blue, &green).await;
    let old = placement("shop", Slot::Blue, 1);
    let is_drained = async || {
        let status = in_time("status", subject.plane.status()).await.unwrap();
        !status.is_in_flight_unknown && status.in_flight.get(&old).is_none_or(|count| *count == 0)
    };
    assert!(!is_drained().await, "a slot with a request in flight was reported as drained");
    blue.finish_slow();
    in_time("the second half", request.answer()).await;
    in_time("the drain", async {
        while !is_drained().await {
            tokio::time::sleep(POLL_EVERY).await;
        }
    })
    .await;
}

pub(super) async fn let_a_request_finish_on_its_slot(subject: &Subject) {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let request = change_during_a_request(subject, &blue, &green).await;
    blue.finish_slow();
    let answer = in_time("the second half", request.answer()).await;
    assert_eq!((answer.status, answer.body), (200, format!("{}{}", HALVES.0, HALVES.1)));
}

//! The reports of a data plane about itself.

use super::origin::Origin;
use super::{Subject, change, group, in_time, placement, slot, table};
use gapless_core::Slot;
use gapless_core::routes::SlotRole;
use std::time::Duration;

pub(super) async fn describe_the_data_plane(subject: &Subject) {
    in_time("replace", subject.plane.replace(&table(1, []))).await.unwrap();
    let info = in_time("info", subject.plane.info()).await;
    assert!(info.is_up && info.pid.is_some(), "{info:?}");
    assert!(info.listen.contains(&subject.address), "{info:?}");
    let checked = in_time("check", subject.plane.check()).await;
    assert!(checked.as_ref().is_ok_and(|sentence| !sentence.is_empty()), "{checked:?}");
    assert!(!subject.plane.name().is_empty());
}

pub(super) async fn name_the_version_of_the_table(subject: &Subject) {
    let blue = Origin::start("blue").await;
    let live = slot(placement("shop", Slot::Blue, 1), SlotRole::Live, blue.address);
    let version = async || in_time("status", subject.plane.status()).await.unwrap().version;
    in_time("replace", subject.plane.replace(&table(5, []))).await.unwrap();
    assert_eq!(version().await, 5);
    let added = change(5, 9, "shop", Some(group("*", vec![live])));
    in_time("change", subject.plane.change(&added)).await.unwrap();
    assert_eq!(version().await, 9);
}

pub(super) async fn wait_for_change_ends_in_time(subject: &Subject) {
    in_time("replace", subject.plane.replace(&table(1, []))).await.unwrap();
    in_time("wait_for_change", subject.plane.wait_for_change(Duration::from_millis(50))).await;
}

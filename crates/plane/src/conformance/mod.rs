//! The rules that every [`DataPlane`] must follow, as tests on real sockets that any driver can run: [`all`] panics at
//! the first rule that a driver breaks.
//!
//! Only routing, versions and draining are rules for all. Held requests, counts and the fallback are promises of the
//! builtin proxy alone and have tests of their own.

// A suite of tests: failing is its purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod drains;
mod origin;
mod reports;
mod routes;

use crate::plane::DataPlane;
use gapless_core::routes::{Backend, RouteChange, RouteGroup, RouteTable, SlotRole, SlotRoute};
use gapless_core::spec::{ForwardSettings, Route};
use gapless_core::{AppKey, Millis, PlacementId, Slot};
use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The longest that any step of a test may take. Far above what any data plane needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running data plane, without routes.
pub struct Subject {
    /// The driver under test.
    pub plane: Arc<dyn DataPlane>,
    /// An address on which the data plane accepts requests.
    pub address: SocketAddr,
    /// The process, thread or folder behind the driver: dropped when the test ends.
    pub guard: Box<dyn Any + Send>,
}

/// Runs every test, each on a fresh data plane of `make`. Needs a tokio runtime with I/O and time.
///
/// # Panics
/// If the data plane breaks a rule.
pub async fn all(make: impl AsyncFn() -> Subject) {
    routes::follow_a_replaced_table(&make().await).await;
    routes::follow_a_change_at_once_and_lose_no_request(&make().await).await;
    routes::stay_when_a_change_has_another_base(&make().await).await;
    routes::are_the_same_after_a_repeated_table(&make().await).await;
    routes::end_when_their_group_is_removed(&make().await).await;
    routes::are_chosen_by_host_and_longest_path(&make().await).await;
    routes::answer_503_without_a_live_slot(&make().await).await;
    routes::use_every_instance(&make().await).await;
    routes::keep_services_apart(&make().await).await;
    routes::divide_requests_by_weight(&make().await).await;
    routes::reach_a_preview_only_with_its_token(&make().await).await;
    routes::answer_with_the_maintenance_page(&make().await).await;

    drains::report_a_request_until_it_ends(&make().await).await;
    drains::report_a_preview_request_until_it_ends(&make().await).await;
    drains::let_a_request_finish_on_its_slot(&make().await).await;

    reports::describe_the_data_plane(&make().await).await;
    reports::name_the_version_of_the_table(&make().await).await;
    reports::wait_for_change_ends_in_time(&make().await).await;
}

fn key(app: &str) -> AppKey {
    AppKey::new(app.parse().unwrap(), "production".parse().unwrap())
}

fn placement(app: &str, slot: Slot, deployment: u64) -> PlacementId {
    PlacementId { key: key(app), slot, deployment }
}

fn slot(placement: PlacementId, role: SlotRole, address: SocketAddr) -> SlotRoute {
    SlotRoute {
        release: placement.deployment,
        placement,
        role,
        weight: if role == SlotRole::Live { SlotRoute::WEIGHT_FULL } else { 0 },
        instances: vec![Backend { service: Default::default(), replica: 1, address }],
        drain_timeout: Millis::from_secs(60),
    }
}

fn route(host: &str, path: &str, strip: bool) -> Route {
    Route { host: host.parse().unwrap(), path: path.parse().unwrap(), strip, service: Default::default() }
}

/// A group with one route for a host and these slots.
fn group(host: &str, slots: Vec<SlotRoute>) -> RouteGroup {
    RouteGroup {
        routes: vec![route(host, "/", false)],
        slots,
        split: None,
        forward: ForwardSettings::default(),
        hold: None,
        maintenance: None,
        preview: None,
    }
}

fn table(version: u64, groups: impl IntoIterator<Item = (&'static str, RouteGroup)>) -> RouteTable {
    RouteTable { version, groups: groups.into_iter().map(|(app, group)| (key(app), Arc::new(group))).collect() }
}

fn change(base: u64, version: u64, app: &str, group: Option<RouteGroup>) -> RouteChange {
    RouteChange { base, version, groups: BTreeMap::from([(key(app), group.map(Arc::new))]) }
}

/// Fails the test when `work` takes longer than any data plane may.
async fn in_time<T>(step: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{step} took longer than {DEADLINE:?}"))
}

//! The trait of a data plane, and the values that its methods exchange.

use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::deployment::Traffic;
use gapless_core::facts::HeldSeen;
use gapless_core::routes::RouteChange;
use gapless_core::{AppKey, PlacementId, RouteGroup, RouteTable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Something that carries requests by a route table: the builtin proxy, or nginx. Every call has a deadline of its own.
#[async_trait]
pub trait DataPlane: Send + Sync + 'static {
    /// The name shown to people.
    fn name(&self) -> String;

    /// Describes the data plane for the API: its process, its listeners and whether it answers.
    async fn info(&self) -> PlaneInfo;

    /// Checks the data plane for `gapless doctor`: a sentence about its state.
    ///
    /// # Errors
    /// The fault and its remedy, as a sentence.
    async fn check(&self) -> Result<String, String>;

    /// Goes by `table` from now on. Answers once no request is routed by an earlier one.
    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError>;

    /// Goes by the table changed by `change` from now on. Answers once no request is routed by an earlier one.
    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError>;

    /// What it goes by, and what is in flight.
    async fn status(&self) -> Result<PlaneStatus, PlaneError>;

    /// Waits until its status is worth reading again (something drained, an instance refused), or that time has passed.
    async fn wait_for_change(&self, within: Duration);
}

/// That a data plane goes by a table, but for what it did not take of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// The applications whose routes it did not take: one's mistake never blocks another's.
    pub rejected: BTreeMap<AppKey, Rejection>,
}

/// That a data plane did not take an application's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why, for people.
    pub why: String,
    /// What it goes by in their stead.
    pub retained: Retained,
}

/// What a data plane goes by that did not take an application's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// It has no routes of the application's.
    Nothing,
    /// Those of before.
    Group(Arc<RouteGroup>),
    /// Those that an earlier run of the server told it: which ones is not known, so that nothing is decided by them.
    Unknown,
}

/// What a data plane reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneStatus {
    /// The version of the table that it goes by.
    pub version: u64,
    /// Requests in flight by placement; a placement that is not there has none.
    pub in_flight: BTreeMap<PlacementId, u64>,
    /// That it cannot tell what is in flight: then a drain lasts until its deadline.
    pub is_in_flight_unknown: bool,
    /// Requests since it was started, by placement.
    pub traffic: BTreeMap<PlacementId, Traffic>,
    /// Latencies by placement, of those that are compared: upper bounds of buckets in microseconds, and counts.
    pub latencies: BTreeMap<PlacementId, BTreeMap<u64, u64>>,
    /// Placements that are sent nothing any more because so many requests in a row could not be sent there.
    pub given_up: BTreeMap<PlacementId, u64>,
    /// What was held of each application's requests.
    pub held: BTreeMap<AppKey, HeldSeen>,
    /// Placements of which instances refused connections, and how often: a reason to look at them at once.
    pub refused: BTreeMap<PlacementId, u64>,
}

/// Why a data plane did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// It has another table than the change is based on, and needs the whole one.
    #[error("the data plane has another table than the change is based on")]
    OtherBase,
    /// It goes by a table of that version, which is newer than what it was told.
    #[error(
        "the data plane goes by routes of revision {0}, which is later than that of the records; an older state was restored"
    )]
    Newer(u64),
    /// It does not answer.
    #[error("the data plane does not answer: {0}")]
    Away(String),
    /// Something is wrong with it that a person has to mend; it goes by what it had.
    #[error("{0}")]
    Problem(String),
}

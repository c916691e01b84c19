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

/// A program that carries requests by a route table: the builtin proxy, or nginx. Every call has a deadline of its own.
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

    /// Replaces the route table. Returns once no request is routed by an earlier table.
    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError>;

    /// Applies `change` to the route table. Returns once no request is routed by an earlier table.
    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError>;

    /// Reports the version of the applied table, and the requests in flight.
    async fn status(&self) -> Result<PlaneStatus, PlaneError>;

    /// Waits until the status is worth reading again (a slot drained, an instance refused), at most for `within`.
    async fn wait_for_change(&self, within: Duration);
}

/// The result of an applied table: the parts that the data plane rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// The applications whose routes were rejected: a mistake of one application never blocks another.
    pub rejected: BTreeMap<AppKey, Rejection>,
}

/// The rejection of an application's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, for people.
    pub why: String,
    /// The routes that the data plane applies instead.
    pub retained: Retained,
}

/// The routes that a data plane applies after it rejected an application's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// No routes of the application.
    Nothing,
    /// The application's previous routes.
    Group(Arc<RouteGroup>),
    /// Routes that an earlier run of the server sent, and that are unknown: no decision is based on them.
    Unknown,
}

/// The report of a data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneStatus {
    /// The version of the applied table.
    pub version: u64,
    /// Requests in flight by placement. A placement without an entry has none.
    pub in_flight: BTreeMap<PlacementId, u64>,
    /// True if the data plane does not know its requests in flight. A drain then lasts until its deadline.
    pub is_in_flight_unknown: bool,
    /// Requests since the start of the data plane, by placement.
    pub traffic: BTreeMap<PlacementId, Traffic>,
    /// Latencies of the placements that are compared: upper bounds of buckets in microseconds, and counts.
    pub latencies: BTreeMap<PlacementId, BTreeMap<u64, u64>>,
    /// Placements that receive no more requests, with the number of requests in a row that could not be sent there.
    pub circuit_open: BTreeMap<PlacementId, u64>,
    /// The requests of each application that were on hold.
    pub held: BTreeMap<AppKey, HeldSeen>,
    /// Placements whose instances refused connections, with counts. A refusal is a reason to inspect them at once.
    pub refused: BTreeMap<PlacementId, u64>,
}

/// Why a call of a data plane failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// The change is based on another table; the data plane needs the whole table.
    #[error("the data plane has another table than the change is based on")]
    OtherBase,
    /// The data plane has a table of that version, which is newer than the table that it was sent.
    #[error("the data plane has routes of revision {0}, and the records are older; an older state was restored")]
    Newer(u64),
    /// The data plane does not answer.
    #[error("the data plane does not answer: {0}")]
    Away(String),
    /// A person must fix a problem of the data plane; until then it applies its previous table.
    #[error("{0}")]
    Problem(String),
}

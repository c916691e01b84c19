//! What travels over the control socket of a data plane: the table in, acknowledgements and counts out.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `PUT /v1/table` | [`RouteTable`](gapless_core::routes::RouteTable) | [`Acknowledgement`], or 409 [`Refusal`] where it is older than the present one |
//! | `PATCH /v1/table` | [`RouteChange`](gapless_core::routes::RouteChange) | [`Acknowledgement`], or 409 [`Refusal`] where its base is not the present version |
//! | `GET /v1/status` | | [`ProxyStatus`] |
//! | `GET /v1/changes?seen=N&timeout_ms=M` | | [`Changes`], as soon as the sequence differs from `N`, or after `M` |
//! | `POST /v1/yield` | | its table: it stops as below, and answers to the one that takes its place only: `PUT /v1/yielded/table`, `GET /v1/yielded/status`; what is for the other one by now gets 421 |
//! | `POST /v1/stop` | | nothing; the data plane stops accepting, finishes what it has and ends |

mod client;
pub(crate) mod server;
pub use client::{Client, ControlError};

use gapless_core::routes::SlotRole;
use gapless_core::{AppKey, PlacementId, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The acknowledgement of a table: from now on no request is sent by an older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The version that every core of the data plane routes by.
    pub version: u64,
    /// Whether it is on disk, too. Where it is not (disk full, say), requests are routed by it all the same.
    pub persisted: bool,
    /// Why it is not on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a request over the control socket was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, for a person.
    pub error: String,
    /// The version of the present table.
    pub version: u64,
}

/// A number that changes when there is news: a draining placement has no request in flight any more, or connecting to
/// an instance failed (several failures in a short time count once).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Pass it as `seen` next time. 0 is never used.
    pub sequence: u64,
}

/// What a data plane is and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// The version of its binary.
    pub binary_version: String,
    /// The newest table that it was given; 0 where it never had one.
    pub table_version: u64,
    /// The newest table that every core routes by.
    pub applied_version: u64,
    /// The newest table that is on disk.
    pub persisted_version: u64,
    /// Whether a data plane that this one replaced has not ended and does not answer: then nobody knows what it has in
    /// flight.
    #[serde(default)]
    pub is_in_flight_unknown: bool,
    /// Client connections that are open, those of data planes that it replaced included.
    pub connections: u64,
    /// The addresses that it accepts connections on.
    pub listen: Vec<SocketAddr>,
    /// Whether it is stopping: it accepts no connection and finishes what it has.
    pub stopping: bool,
    /// The present [`Changes::sequence`].
    pub sequence: u64,
    /// What each placement gets and got: those in the table, and those that left it within the last minutes or still
    /// have requests in flight.
    pub placements: BTreeMap<PlacementId, PlacementTraffic>,
    /// What gapless answered itself, by application and environment.
    pub groups: BTreeMap<AppKey, OwnAnswers>,
    /// What gapless answered itself to requests that belong to no application.
    pub unrouted: OwnAnswers,
}

/// What one placement gets and got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementTraffic {
    /// What it is in the table for; `None` when it has left the table.
    pub role: Option<SlotRole>,
    /// Its weight in the table; 0 when it has left it.
    pub weight: u32,
    /// Requests that have begun and not ended: answers not read to their end, and upgraded connections, included.
    pub in_flight: u64,
    /// Of those, upgraded connections.
    pub upgraded: u64,
    /// Requests begun.
    pub requests: u64,
    /// Answers by class.
    pub answers: AnswerCounts,
    /// Attempts that failed, by cause. An attempt that was retried with success counts here, too.
    pub failures: FailureCounts,
    /// Requests that were sent once more because the first attempt could not be sent.
    pub retries: u64,
    /// Requests that this placement got as a fallback, because the live one could not be sent them.
    pub fallbacks: u64,
    /// Requests that the client gave up before the end of the answer.
    pub abandoned: u64,
    /// From the head of the request to the head of the answer.
    pub latency: Latency,
    /// All latencies, where it is one of two slots: the upper bounds of buckets in microseconds, and how many fell there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<(u64, u64)>,
    /// How many requests in a row it could not take, where they are so many that it is sent none while another slot takes
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u32>,
    /// When its first request began, in microseconds since the Unix epoch.
    pub first_request_at_us: Option<u64>,
    /// When its latest request began, in microseconds since the Unix epoch.
    pub last_request_at_us: Option<u64>,
    /// Its instances in the table.
    pub instances: Vec<InstanceTraffic>,
}

/// What one instance gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceTraffic {
    /// The service that it is an instance of.
    #[serde(default)]
    pub service: ServiceName,
    /// Which replica it is, counted from 1.
    pub replica: u16,
    /// Where it answers.
    pub address: SocketAddr,
    /// Requests in flight to it.
    pub in_flight: u64,
    /// Attempts to connect to it that failed.
    pub connect_failures: u64,
}

/// Answers of the application by class of their status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCounts {
    /// 101, for upgraded connections.
    pub informational: u64,
    /// 2xx.
    pub success: u64,
    /// 3xx.
    pub redirect: u64,
    /// 4xx.
    pub client_error: u64,
    /// 5xx.
    pub server_error: u64,
}

/// Attempts that failed by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCounts {
    /// The instance refused the connection, or did not take it in time.
    pub connect: u64,
    /// The connection broke before the end of the answer.
    pub reset: u64,
    /// The answer, or the rest of it, did not come in time.
    pub timeout: u64,
}

/// Latencies in microseconds; 0 where there is none yet. Quantiles are exact to two digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// 90 of 100 are shorter.
    pub p90_us: u64,
    /// 99 of 100 are shorter.
    pub p99_us: u64,
    /// 999 of 1,000 are shorter.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Answers that are gapless's own, by status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAnswers {
    /// The request was malformed, ambiguous or too large (any of the 4xx but 404).
    pub refused: u64,
    /// 404: no route.
    pub no_route: u64,
    /// 502: no instance could be reached, or the connection to it broke.
    pub bad_gateway: u64,
    /// 503: no live instance.
    pub unavailable: u64,
    /// 504: the instance did not answer in time.
    pub timeout: u64,
    /// 503: the page of an application under maintenance.
    #[serde(default)]
    pub maintenance: u64,
    /// Requests that were held.
    #[serde(default)]
    pub held: u64,
    /// The longest that one was, in microseconds.
    #[serde(default)]
    pub held_longest_us: u64,
    /// The longest from a table that held no more to one's being sent on, in microseconds.
    #[serde(default)]
    pub held_release_us: u64,
    /// 503: requests that could not be held, because there were too many.
    #[serde(default)]
    pub held_refused: u64,
}

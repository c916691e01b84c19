//! The plan of a load.

use std::net::SocketAddr;
use std::time::Duration;

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Only GET on kept connections.
    Get,
    /// GET, every fifth on a fresh connection, for servers that close connections between requests: a request whose
    /// connection closes before any byte of its answer is counted separately, and sent once more on a fresh connection,
    /// as clients do (RFC 9112, section 9.3.1).
    GetForgiving,
    /// All kinds: kept and fresh connections, bodies both ways, slow downloads, WebSockets and event streams.
    All,
}

/// A load.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The address for the requests.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Requests a second. They are sent on schedule, however slow the answers are.
    pub rate_per_s: u32,
    /// The kinds of requests.
    pub mix: Mix,
    /// The number of kept connections.
    pub connections: usize,
    /// The number of WebSockets, in addition to the rate.
    pub websockets: usize,
    /// The time between two messages of a WebSocket.
    pub websocket_every: Duration,
    /// The number of event streams, in addition to the rate.
    pub event_streams: usize,
    /// The time after which an unanswered request is a failure.
    pub answer_timeout: Duration,
    /// The maximum number of requests; `None` is until the load is stopped.
    pub requests_max: Option<u64>,
}

impl LoadPlan {
    /// A load of 500 requests a second of all kinds.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        LoadPlan {
            address,
            host: address.to_string(),
            rate_per_s: 500,
            mix: Mix::All,
            connections: 16,
            websockets: 4,
            websocket_every: Duration::from_millis(50),
            event_streams: 2,
            answer_timeout: Duration::from_secs(30),
            requests_max: None,
        }
    }
}

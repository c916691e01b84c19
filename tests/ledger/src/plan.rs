//! What a load is made of.

use std::net::SocketAddr;
use std::time::Duration;

/// Which requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Only GET, on connections that are kept.
    Get,
    /// GET, every fifth on a connection of its own, for servers that close connections between requests: one that
    /// closes under a request before any byte of its answer is counted apart, and the request sent once more on a fresh
    /// connection, as clients do (RFC 9112, section 9.3.1).
    GetForgiving,
    /// All kinds: kept and fresh connections, bodies both ways, slow downloads, WebSockets and event streams.
    All,
}

/// A load.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where the requests go.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Requests a second. They are sent at their times however slow the answers are.
    pub rate_per_s: u32,
    /// Which requests.
    pub mix: Mix,
    /// Connections that are kept and used again.
    pub connections: usize,
    /// WebSockets, beside the rate.
    pub websockets: usize,
    /// The time between two messages of a WebSocket.
    pub websocket_every: Duration,
    /// Event streams, beside the rate.
    pub event_streams: usize,
    /// How long an answer may take before it is a failure.
    pub answer_timeout: Duration,
    /// After so many requests no more are sent; `None` is until the load is stopped.
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

//! The limits and deadlines of a data plane that hold for every application: a bound on everything a client can make
//! it hold.

use std::time::Duration;

/// What a client may make the data plane hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long a client has from the first byte of a request head to its last; then 408.
    pub head_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub keep_alive_timeout: Duration,
    /// Bytes of a request head; more is answered 431 (414 where the request line alone is longer).
    pub head_bytes_max: usize,
    /// Header lines of a request; more is answered 431.
    pub header_count_max: usize,
    /// Client connections of the process, at most a third as many as it may open files. At the limit those that have rested
    /// longest are ended, a second at least; where none rests, others wait in the socket's queue.
    pub connections_max: usize,
    /// Idle upstream connections that each core keeps for one instance.
    pub pool_idle_max: usize,
    /// Idle upstream connections that each core keeps in all, at most as many as clients and their requests leave open files.
    pub pool_max: usize,
    /// How long an upstream connection may rest in the pool.
    pub pool_idle_timeout: Duration,
    /// How long a stopping data plane finishes the requests that it has.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            head_bytes_max: 64 << 10,
            header_count_max: 100,
            connections_max: 10_000,
            pool_idle_max: 1024,
            pool_max: usize::MAX,
            pool_idle_timeout: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

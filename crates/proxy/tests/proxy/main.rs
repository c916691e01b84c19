//! The data plane at its boundary: real sockets of clients, instances and the control plane.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bodies;
mod control;
mod cutover;
mod deadlines;
mod framing;
mod harness;
mod headers;
mod hold;
mod preview;
mod retry;
mod routing;
mod services;
mod split;
mod takeover;
mod websocket;

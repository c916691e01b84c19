//! The data plane at its boundary: real sockets in front, behind and at its side.

mod bodies;
mod control;
mod cutover;
mod deadlines;
mod framing;
mod harness;
mod headers;
mod retry;
mod routing;
mod takeover;
mod websocket;

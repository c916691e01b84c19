//! What the end-to-end tests, the demonstration and the benchmarks share: a server of their own on the real
//! components, the command line as a user types it, and the example application.

mod app;
mod booted;
pub mod chance;
mod cli;
pub mod cluster;
pub mod crash;
pub mod crowd;
mod engine;
pub mod flood;
mod http;
mod load;
pub mod many;
mod namespace;
mod nginx;
mod nginx_container;
pub mod power;
pub mod recipe;
pub mod render;
mod server;
pub mod sick;
pub mod sick_disk;
pub mod soak;
pub mod usage;
mod websocket;

pub use app::{App, Runtime, example_program, image};
pub use booted::Booted;
pub use cli::{Gapless, Ran};
pub use engine::engine_floor;
pub use http::get;
pub use load::Load;
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use nginx_container::NginxContainer;
pub use server::{Host, free_port, wait_for};
pub use websocket::WebSocket;

//! The log of the server and the proxy.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins to log to standard error; `GAPLESS_LOG` says how much.
pub fn begin(as_json: bool) {
    let filter = EnvFilter::try_from_env("GAPLESS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    // Already begun is good enough.
    let _ = if as_json { builder.json().try_init() } else { builder.try_init() };
}

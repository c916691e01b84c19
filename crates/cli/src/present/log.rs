//! The log of the server and the proxy.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log to standard error; `GAPLESS_LOG` says how much.
pub fn begin(as_json: bool) {
    begin_with(EnvFilter::try_from_env("GAPLESS_LOG").unwrap_or_else(|_| EnvFilter::new("info")), as_json);
}

/// The same, with as much as that level says.
pub fn begin_at(level: LevelFilter) {
    // Only what gapless says: of what it stands on, what is wrong.
    begin_with(EnvFilter::new(format!("warn,gapless={level},gapless_render={level}")), false);
}

fn begin_with(filter: EnvFilter, as_json: bool) {
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    // Already begun is good enough.
    let _ = if as_json { builder.json().try_init() } else { builder.try_init() };
}

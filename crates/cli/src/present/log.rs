//! The log of the server and the proxy.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use tracing_subscriber::EnvFilter;
#[cfg(feature = "render")]
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to standard error, or with all fields to the journal if standard error is the journal. `GAPLESS_LOG`
/// sets the level.
pub fn start(as_json: bool) {
    start_with(EnvFilter::try_from_env("GAPLESS_LOG").unwrap_or_else(|_| EnvFilter::new("info")), as_json);
}

/// Starts logging to standard error, or to the journal, at `level`.
#[cfg(feature = "render")]
pub fn start_at(level: LevelFilter) {
    // Dependencies log warnings and errors only.
    start_with(EnvFilter::new(format!("warn,gapless={level},gapless_render={level}")), false);
}

fn start_with(filter: EnvFilter, as_json: bool) {
    if !as_json
        && is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        // Logging may have been started before.
        let _ = tracing_subscriber::registry().with(journal).with(filter).try_init();
        return;
    }
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    // Logging may have been started before.
    let _ = if as_json { builder.json().try_init() } else { builder.try_init() };
}

/// Standard error is the journal: `JOURNAL_STREAM` (systemd.exec(5)) names the same file. A process whose output was
/// redirected later has another one.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

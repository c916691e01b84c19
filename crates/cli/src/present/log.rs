//! The log of the server and the proxy.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use tracing_subscriber::EnvFilter;
#[cfg(feature = "render")]
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log to standard error, or with all fields to the journal where that is what standard error is;
/// `GAPLESS_LOG` says how much.
pub fn begin(as_json: bool) {
    begin_with(EnvFilter::try_from_env("GAPLESS_LOG").unwrap_or_else(|_| EnvFilter::new("info")), as_json);
}

/// The same, with as much as that level says.
#[cfg(feature = "render")]
pub fn begin_at(level: LevelFilter) {
    // Only what gapless says: of what it stands on, what is wrong.
    begin_with(EnvFilter::new(format!("warn,gapless={level},gapless_render={level}")), false);
}

fn begin_with(filter: EnvFilter, as_json: bool) {
    if !as_json
        && is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        // Already begun is good enough.
        let _ = tracing_subscriber::registry().with(journal).with(filter).try_init();
        return;
    }
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    // Already begun is good enough.
    let _ = if as_json { builder.json().try_init() } else { builder.try_init() };
}

/// Whether standard error is the journal: systemd says which file that is (systemd.exec(5), `JOURNAL_STREAM`), so that a
/// process whose output was redirected since is not misled.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

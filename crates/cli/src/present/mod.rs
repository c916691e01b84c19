//! Output for people and programs.

pub mod again;
pub mod deployment;
pub mod follow;
pub mod json;
pub mod log;
mod receipt;
pub mod table;

use gapless_core::Timestamp;
use std::path::{Path, PathBuf};

/// The socket of this user's server.
pub fn default_socket() -> PathBuf {
    gapless_api::default_socket(is_root(), |name| std::env::var(name).ok())
}

/// The state folder of this user's server.
pub fn default_state_dir() -> PathBuf {
    if is_root() {
        return "/var/lib/gapless".into();
    }
    let state = std::env::var("XDG_STATE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var("HOME").unwrap_or_default());
    state.unwrap_or_else(|_| home().join(".local/state")).join(Path::new("gapless"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The present instant.
pub fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
}

/// An instant in the local time zone.
pub fn local_time(at: Timestamp) -> String {
    let instant =
        i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    instant.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Hosts or routes as a list; `*` becomes `every host`.
pub fn listed(hosts: impl IntoIterator<Item = String>) -> String {
    let said = |host: String| if matches!(host.as_str(), "*" | "*/") { "every host".to_owned() } else { host };
    hosts.into_iter().map(said).collect::<Vec<_>>().join(", ")
}

/// A span for people: `12 µs`, `1.5 ms`, `3m20s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => gapless_core::Millis(us / 1_000).to_string(),
    }
}

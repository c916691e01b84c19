//! The soak: half an hour of deployments under load, and what grows.

use gapless_e2e::soak::{self, Sample};
use serde_json::{Value, json};
use std::time::Duration;

pub fn run(minutes: u64) -> Value {
    let outcome = soak::run(Duration::from_secs(60 * minutes), &mut |line| eprintln!("{line}"));
    let last = outcome.samples.last().copied().unwrap_or_default();
    let grown = |of: fn(&Sample) -> u64| outcome.growth(of);
    json!({
        "minutes": last.at_s / 60,
        "rounds": outcome.rounds,
        "done": outcome.done,
        "requests": outcome.requests,
        "failed": outcome.failed,
        "failures": outcome.failures,
        "memory_growth_percent": {
            "server": outcome.memory_growth_percent(|sample| sample.server),
            "proxy": outcome.memory_growth_percent(|sample| sample.proxy),
        },
        "memory_kib": { "server": last.server.memory_kib, "proxy": last.proxy.memory_kib },
        "growth": {
            "open_files_server": grown(|sample| sample.server.open_files),
            "open_files_proxy": grown(|sample| sample.proxy.open_files),
            "containers": grown(|sample| sample.containers),
            "networks": grown(|sample| sample.networks),
            "files": grown(|sample| sample.files),
        },
    })
}

//! An application that floods its log, as a process and in a container.

use gapless_e2e::Runtime;
use gapless_e2e::flood::{self, Flood};
use serde_json::{Value, json};
use std::time::Duration;

pub fn run() -> Value {
    let one = |runtime| {
        let flood = Flood { mb_per_s: 50, long_line_mb: 1024, lasting: Duration::from_secs(30), runtime };
        let outcome = flood::run(flood);
        let report = outcome.report;
        json!({
            "requests": report.requests,
            "failed": report.failed,
            "failures": report.failures.iter().map(|failure| format!("{failure:?}")).collect::<Vec<_>>(),
            "p99_us": report.latency.p99_us,
            "written_mb_per_s": outcome.written_mb_per_s,
            "followed_lines": outcome.followed,
            "server_memory_kib": outcome.server.memory_kib,
            "shim_memory_kib": outcome.shim.memory_kib,
            "log_bytes": outcome.log_bytes,
        })
    };
    json!({ "process": one(Runtime::Process), "docker": one(Runtime::Docker) })
}

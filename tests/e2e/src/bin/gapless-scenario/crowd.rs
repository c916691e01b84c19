//! A thousand WebSockets and ten thousand idle connections over twenty deployments.

use gapless_e2e::crowd::{self, Crowd};
use serde_json::{Value, json};

const CROWD: Crowd = Crowd { websockets: 1_000, idle: 10_000, deploys: 20 };

pub fn run() -> Value {
    let outcome = crowd::run(CROWD, &mut |line| eprintln!("{line}"));
    let report = outcome.report;
    json!({
        "websockets": CROWD.websockets,
        "idle": CROWD.idle,
        "deploys": CROWD.deploys,
        "requests": report.requests,
        "by_kind": report.by_kind,
        "failed": report.failed,
        "failures": report.failures.iter().map(|failure| format!("{failure:?}")).collect::<Vec<_>>(),
        "moved": report.moved,
        "p99_us": report.latency.p99_us,
        "idle_answered_again": outcome.answered,
        "idle_closed": outcome.closed,
        "proxy_memory_kib": {
            "before": outcome.before.memory_kib,
            "most": outcome.most.memory_kib,
            "after": outcome.after.memory_kib,
        },
        "proxy_open_files_most": outcome.most.open_files,
    })
}

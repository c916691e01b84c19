//! A server that is killed where there are two hundred applications and ten thousand deployments.

use gapless_e2e::many;
use serde_json::{Value, json};

const APPLICATIONS: usize = 200;
const DEPLOYMENTS_EACH: u64 = 50;

pub fn run() -> Value {
    let outcome = many::recover(APPLICATIONS, DEPLOYMENTS_EACH);
    json!({
        "applications": outcome.applications,
        "records": outcome.records,
        "ready_ms": outcome.ready.as_millis(),
        "deployed_ms": outcome.deployed.as_millis(),
        "requests": outcome.requests,
        "failed": outcome.failed,
        "memory_kib": outcome.memory_kib,
    })
}

//! The recipe that the project grew from: ten deployments on etcd, confd's files, nginx and systemd.

use serde_json::{Value, json};

pub fn run() -> Value {
    let walked = gapless_e2e::recipe::walk(10);
    for disagreement in &walked.disagreements {
        eprintln!("{disagreement}");
    }
    json!({
        "deploys": walked.deploys,
        "disagreements": walked.disagreements.len(),
        "failed": walked.failed,
        "requests": walked.requests,
        "closed": walked.closed,
    })
}

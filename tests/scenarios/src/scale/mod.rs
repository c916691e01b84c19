//! Large amounts of one thing for a while: deployments, connections, output, history; and what grows with them.

pub mod crowd;
pub mod flood;
pub mod recovery;
pub mod soak;

use gapless_ledger::Failure;

fn lost_requests(failed: u64, failures: &[Failure]) -> Option<String> {
    (failed > 0).then(|| format!("{failed} lost requests: {failures:?}"))
}

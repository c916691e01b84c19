//! Releases under load: deployments, rollbacks, canaries and bad releases, with their effect on users.

pub mod bad_releases;
pub mod canary;
pub mod hold;
pub mod nginx;
pub mod rollback;
pub mod walk;
pub mod zero_loss;

use gapless_api::ApplicationView;
use gapless_harness::Gapless;
use gapless_ledger::Report;

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

/// One violation for each recorded failure, and one for the failures beyond those that the ledger keeps.
fn lost_requests(report: &Report) -> Vec<String> {
    let kept = report.failures.len() as u64;
    let beyond = report.failed.saturating_sub(kept);
    let lost = report.failures.iter().map(|failure| format!("lost request: {failure:?}"));
    lost.chain((beyond > 0).then(|| format!("{beyond} more lost requests"))).collect()
}

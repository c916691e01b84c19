//! A hundred deployments, fifty rollbacks and fifty upgrades of proxy and server, under a load of a million requests of
//! all kinds.

use super::lost_requests;
use gapless_harness::{App, Host, Load, Outcome, Runtime, wait_for};
use serde_json::json;
use std::time::{Duration, Instant};

const DEPLOYS: u32 = 100;
const ROLLBACKS: u32 = 50;
const UPGRADES: u32 = 50;
const REQUESTS: u64 = 1_000_000;
const RATE_PER_S: u32 = 2_000;
/// The maximum time of a run.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Deploys, rolls back and upgrades until a million requests have been sent.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let deploy = "observe = \"500ms\"\nkeep_warm = \"1m\"\n".to_owned();
    let app = App { replicas: 2, deploy, ..App::new("zero-loss", Runtime::Process) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let load = Load::of_all_kinds(host.address(), RATE_PER_S);
    let give_up_at = Instant::now() + DEADLINE;
    let (mut deploys, mut rollbacks, mut upgrades) = (0, 0, 0);
    let (mut round, mut told) = (0, 0);
    while (deploys < DEPLOYS || load.requests() < REQUESTS) && Instant::now() < give_up_at {
        round += 1;
        // Every second upgrade happens during a deployment.
        let is_upgraded = round % 2 == 0 && upgrades < UPGRADES;
        if is_upgraded && round % 4 == 0 {
            gapless.ok(["deploy", "--force", "--detach"]);
            gapless.ok(["upgrade"]);
            upgrades += 1;
            wait_for("the deployment ends", Duration::from_secs(60), || gapless.latest().phase.is_end().then_some(()));
        } else {
            gapless.ok(["deploy", "--force"]);
            if is_upgraded {
                gapless.ok(["upgrade"]);
                upgrades += 1;
            }
        }
        deploys += u32::from(gapless.latest().phase.name() == "succeeded");
        if round % 2 == 1 && rollbacks < ROLLBACKS {
            gapless.ok(["rollback"]);
            rollbacks += 1;
        }
        let report = load.snapshot();
        for failure in report.failures.iter().skip(told) {
            eprintln!("failed in round {round}: {failure:?}");
        }
        told = report.failures.len();
        if round % 10 == 0 {
            eprintln!(
                "{deploys} deploys, {rollbacks} rollbacks, {upgrades} upgrades, {} requests, {} failed",
                report.requests, report.failed
            );
        }
    }
    let report = load.stop();
    let figures = json!({
        "requests": report.requests,
        "failed": report.failed,
        "deploys": deploys,
        "rollbacks": rollbacks,
        "upgrades": upgrades,
        "by_kind": report.by_kind,
        "moved": report.moved,
        "p99_us": report.latency.p99_us,
        "seconds": report.duration_ms / 1000,
    });
    let mut violations = lost_requests(&report);
    let counts = [
        ("deployments", u64::from(deploys), u64::from(DEPLOYS)),
        ("rollbacks", u64::from(rollbacks), u64::from(ROLLBACKS)),
        ("upgrades", u64::from(upgrades), u64::from(UPGRADES)),
        ("requests", report.requests, REQUESTS),
    ];
    for (what, count, wanted) in counts.into_iter().filter(|(_, count, wanted)| count < wanted) {
        violations.push(format!("only {count} of {wanted} {what} within {DEADLINE:?}"));
    }
    Outcome { figures, violations }
}

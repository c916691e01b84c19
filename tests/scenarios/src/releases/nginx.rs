//! Fifty deployments through nginx, under a load of fresh and kept connections.

use super::lost_requests;
use gapless_harness::deps::Nginx;
use gapless_harness::{App, Host, Load, Outcome, Runtime};
use serde_json::json;

const DEPLOYS: u32 = 50;
const RATE_PER_S: u32 = 500;

/// Fifty deployments through nginx.
#[must_use]
pub fn scenario() -> Outcome {
    let nginx = Nginx::start();
    let host = Host::start_configured(&nginx.server_config());
    let app = App {
        hosts: vec!["shop.test".to_owned()],
        deploy: "observe = \"500ms\"\nkeep_warm = \"0s\"\n".to_owned(),
        ..App::new("shop", Runtime::Process)
    };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let overflows_before = listen_overflows();
    let load = Load::forgiving(nginx.address(), "shop.test", RATE_PER_S);
    let mut deploys = 0;
    for _ in 0..DEPLOYS {
        let ran = gapless.run(["deploy", "--force"]);
        if ran.code == 0 {
            deploys += 1;
        } else {
            eprintln!("a deployment failed: {}{}", ran.stdout, ran.stderr);
        }
        let report = load.snapshot();
        println!(
            "{deploys} deploys, {} requests, {} failed, {} connections closed between requests",
            report.requests, report.failed, report.closed
        );
    }
    let report = load.stop();
    for failure in &report.failures {
        eprintln!("failed: {failure:?}");
    }
    if report.failed > 0 {
        let log = nginx.log();
        let errors = log.lines().filter(|line| line.contains("[error]") || line.contains("[alert]"));
        errors.take(20).for_each(|line| eprintln!("nginx: {line}"));
    }
    let figures = json!({
        "deploys": deploys,
        "requests": report.requests,
        "failed": report.failed,
        "closed": report.closed,
        "closed_under_request": report.closed_under_request,
        "releases": report.by_release.len(),
        "p99_us": report.latency.p99_us,
        "listen_overflows": listen_overflows().saturating_sub(overflows_before),
    });
    let mut violations = lost_requests(&report);
    if deploys < DEPLOYS {
        violations.push(format!("{} of {DEPLOYS} deployments failed", DEPLOYS - deploys));
    }
    Outcome { figures, violations }
}

/// Connections of this host that did not fit into a listener's queue since the boot (proc_net_netstat,
/// `ListenOverflows`): the first sign of a host that cannot keep up with the load.
fn listen_overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "ListenOverflows").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

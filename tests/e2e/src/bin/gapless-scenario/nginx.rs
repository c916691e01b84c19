//! Fifty deploys through nginx, under a load of fresh connections and clients that keep theirs.

use gapless_e2e::{App, Host, Nginx, Runtime};
use gapless_ledger::{Ledger, LoadPlan, Mix};
use serde_json::{Value, json};

const DEPLOYS: u32 = 50;
const RATE_PER_S: u32 = 500;

pub fn run() -> Value {
    let nginx = Nginx::start();
    let host = Host::start_configured(&nginx.server_config());
    let app = App {
        hosts: vec!["shop.test".to_owned()],
        deploy: "observe = \"500ms\"\nkeep_warm = \"0s\"\n".to_owned(),
        ..App::new("shop", Runtime::Process)
    };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let tokio = tokio::runtime::Runtime::new().expect("tokio can be set up");
    let plan = LoadPlan {
        host: "shop.test".to_owned(),
        rate_per_s: RATE_PER_S,
        mix: Mix::GetForgiving,
        ..LoadPlan::new(nginx.address())
    };
    let load = tokio.block_on(async { Ledger::start(plan) });
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
    let report = tokio.block_on(load.stop());
    for failure in &report.failures {
        eprintln!("failed: {failure:?}");
    }
    json!({
        "deploys": deploys,
        "requests": report.requests,
        "failed": report.failed,
        "closed": report.closed,
        "closed_under_request": report.closed_under_request,
        "releases": report.by_release.len(),
        "p99_us": report.latency.p99_us,
    })
}

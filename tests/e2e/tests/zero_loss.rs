//! The promise: deployments and rollbacks lose no request. The ledger is the judge.

use gapless_core::Deployment;
use gapless_harness::{App, Host, Load, Runtime};
use gapless_ledger::Report;

fn assert_no_loss(report: &Report) {
    assert_eq!(report.failed, 0, "of {} requests: {:#?}", report.requests, report.failures);
}

/// Failure mode B1.
#[test]
fn docker_deploys_and_rollbacks_lose_none_of_100000_requests() {
    let host = Host::start();
    let folder = App::new("zero-loss", Runtime::Docker).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    let load = Load::of_all_kinds(host.address(), 800);
    for _ in 0..20 {
        gapless.ok(["deploy", "--force"]);
        gapless.ok(["rollback"]);
    }
    while load.requests() < 100_000 {
        gapless.ok(["deploy", "--force"]);
        gapless.ok(["rollback"]);
    }
    let report = load.stop();
    assert_no_loss(&report);
    assert!(report.requests >= 100_000, "only {} requests", report.requests);
    assert!(report.by_release.len() >= 21, "{:?}", report.by_release.keys());
    let history: Vec<Deployment> = gapless.json(["history", "--json", "-n", "100"]);
    assert!(history.iter().all(|deployment| deployment.phase.name() == "succeeded"), "{history:#?}");
    println!("{} requests, {} releases, 0 failed", report.requests, report.by_release.len());
}

/// Failure mode B1.
#[test]
fn process_deploys_and_rollbacks_lose_no_request() {
    let host = Host::start();
    let folder = App { replicas: 2, ..App::new("zero-loss-process", Runtime::Process) }.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    let load = Load::of_all_kinds(host.address(), 600);
    for _ in 0..4 {
        gapless.ok(["deploy", "--force"]);
        gapless.ok(["rollback"]);
    }
    assert_no_loss(&load.stop());
}

/// Failure mode B14.
#[test]
fn killed_server_resumes_deployments_without_lost_requests() {
    let mut host = Host::start();
    let folder = App::new("server-death", Runtime::Docker).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    let load = Load::of_all_kinds(host.address(), 500);
    for round in 0..8_u64 {
        let detached = gapless.ok(["deploy", "--force", "--detach"]);
        assert!(detached.stdout.contains("follow it"), "{detached:?}");
        // At a different moment in each round: before, during and after the start of the instances, and under
        // observation.
        std::thread::sleep(std::time::Duration::from_millis(round * 70));
        host.kill_server();
        host.start_server();
        let number = (round + 2).to_string();
        let ended = gapless.run(["show", &number, "--follow"]);
        assert_eq!(ended.code, 0, "{ended:?}\n{}", host.log());
    }
    assert_no_loss(&load.stop());
    let status = gapless.ok(["status"]).stdout;
    assert!(status.contains("live"), "{status}");
}

#[test]
fn failed_deployment_loses_no_request() {
    let host = Host::start();
    let app = App::new("failed-deploys", Runtime::Process);
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    let load = Load::of_all_kinds(host.address(), 400);
    let health = "[health]\ndeadline = \"2s\"\ninterval = \"100ms\"\ntimeout = \"500ms\"\n".to_owned();
    for (how, code) in [("never-healthy", 3), ("never-listen", 3), ("exit-after=0:7", 3)] {
        App { tables: health.clone(), ..app.misbehaving(how) }.write(host.folder());
        let ran = gapless.run(["deploy", "--force"]);
        assert!(ran.code == code || (how.starts_with("exit") && ran.code == 6), "{how}: {ran:?}");
    }
    let report = load.stop();
    assert_no_loss(&report);
    assert_eq!(report.by_release.keys().map(String::as_str).collect::<Vec<_>>(), ["1"]);
}

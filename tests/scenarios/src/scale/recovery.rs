//! Recovery of a killed server on a host with many applications and a long history.

use super::lost_requests;
use gapless_api::ApplicationView;
use gapless_harness::{App, Gapless, Host, Load, Outcome, Runtime, Usage, wait_for};
use gapless_ledger::Failure;
use gapless_store::{SqliteStore, Store, Txn};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const RATE_PER_S: u32 = 200;
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Operations in one transaction of the store.
const OPS_PER_TXN: usize = 100;
const DEPLOYMENTS: &str = "/gapless/deployments/";
const APPLICATIONS: &str = "/gapless/apps/";

/// The result.
#[derive(Debug)]
pub struct RecoveryReport {
    /// Applications.
    pub applications: usize,
    /// Records of deployments.
    pub records: usize,
    /// From the start of the server's process to its first answer that names all applications.
    pub ready: Duration,
    /// From then to the end of a deployment.
    pub deployed: Duration,
    /// Requests during the recovery.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// The first of the failures.
    pub failures: Vec<Failure>,
    /// The server's memory after the recovery, in KiB.
    pub memory_kib: u64,
}

/// The server killed beside two hundred applications and ten thousand deployments.
#[must_use]
pub fn scenario() -> Outcome {
    let report = recover(200, 50);
    let figures = json!({
        "applications": report.applications,
        "records": report.records,
        "ready_ms": report.ready.as_millis(),
        "deployed_ms": report.deployed.as_millis(),
        "requests": report.requests,
        "failed": report.failed,
        "memory_kib": report.memory_kib,
    });
    let violations = lost_requests(report.failed, &report.failures).into_iter().collect();
    Outcome { figures, violations }
}

/// Kills the server of a host with so many applications, each with so many deployments.
#[must_use]
pub fn recover(applications: usize, deployments_each: u64) -> RecoveryReport {
    let mut host = Host::start();
    let apps: Vec<Gapless> = (0..applications).map(|index| deployed(&host, index)).collect();
    host.kill_server();
    let records = lengthen_history(&host.folder().join("state"), deployments_each);
    host.start_server();
    let load = Load::idempotent_for(host.address(), &host_of(0), RATE_PER_S);
    wait_for("requests are answered", READY_DEADLINE, || (load.requests() > 0).then_some(()));

    host.kill_server();
    let killed = Instant::now();
    host.spawn_server();
    let all = || {
        let ran = host.gapless().run(["status", "--json"]);
        let views: Vec<ApplicationView> = serde_json::from_str(&ran.stdout).unwrap_or_default();
        (views.len() == applications && views.iter().all(|view| view.live.is_some())).then_some(())
    };
    wait_for("the server lists all applications", READY_DEADLINE, all);
    let ready = killed.elapsed();
    apps[0].ok(["deploy", "--force"]);
    let deployed = killed.elapsed() - ready;
    let report = load.stop();
    report.failures.iter().for_each(|failure| eprintln!("failed: {failure:?}"));
    let pid = host.server_pid().expect("the process runs");
    RecoveryReport {
        applications,
        records,
        ready,
        deployed,
        requests: report.requests,
        failed: report.failed,
        failures: report.failures,
        memory_kib: Usage::of(pid).unwrap_or_default().memory_kib,
    }
}

fn host_of(index: usize) -> String {
    format!("many-{index}.example.com")
}

fn deployed(host: &Host, index: usize) -> Gapless {
    let app = App {
        hosts: vec![host_of(index)],
        deploy: "observe = \"0s\"\nkeep_warm = \"0s\"\n".to_owned(),
        ..App::new(&format!("many-{index}"), Runtime::Process)
    };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy", "--force"]);
    gapless
}

/// Copies each application's first deployment until it has so many; returns the number of deployment records.
fn lengthen_history(state: &Path, deployments_each: u64) -> usize {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
    tokio.block_on(async {
        let store = SqliteStore::open(&state.join("state.db")).expect("the store can be opened");
        let first = store.range(DEPLOYMENTS).await.expect("the store can be read").entries;
        let mut puts = Vec::new();
        for entry in &first {
            let (app, _) = entry.key.rsplit_once('/').expect("the number comes last");
            for number in 2..=deployments_each {
                puts.push((format!("{app}/{number:012}"), changed(&entry.value, "number", number)));
            }
        }
        for entry in store.range(APPLICATIONS).await.expect("the store can be read").entries {
            puts.push((entry.key, changed(&entry.value, "last_deployment", deployments_each)));
        }
        for puts in puts.chunks(OPS_PER_TXN) {
            let txn = puts.iter().fold(Txn::new(), |txn, (key, value)| txn.put(key, value.clone()));
            store.commit(txn).await.expect("the store can be changed");
        }
        store.range(DEPLOYMENTS).await.expect("the store can be read").entries.len()
    })
}

/// A copy of a record with another number in this field.
fn changed(record: &[u8], field: &str, number: u64) -> Vec<u8> {
    let mut record: Value = serde_json::from_slice(record).expect("records are JSON");
    record[field] = number.into();
    serde_json::to_vec(&record).expect("the record is JSON")
}

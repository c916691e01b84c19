//! The conformance suite on this host's systemd: `systemd_conformance PROBE`. `tests/e2e/tests/systemd.rs` runs it in a
//! host that it has booted.

#![allow(clippy::expect_used)]

use gapless_core::spec::{Process, Service, Workload};
use gapless_runtime::conformance::Subject;
use gapless_runtime::systemd::{SystemdConfig, SystemdRuntime};
use std::path::PathBuf;

fn main() {
    let probe = std::env::args().nth(1).expect("the argument names the program to run");
    let root: PathBuf = "/var/lib/gapless-conformance".into();
    let make = || {
        let config = SystemdConfig { root: root.clone(), units: "/etc/systemd/system".into() };
        SystemdRuntime::new(config).expect("the folder can be created")
    };
    let workload = Workload::Systemd(Process { command: vec![probe], directory: "/".into(), user: None });
    let key = "conformance/production".parse().expect("a valid key");
    let subject = Subject { make, key, service: Service::new(workload, 0) };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio.expect("tokio starts").block_on(subject.all());
    println!("conformance passed");
}

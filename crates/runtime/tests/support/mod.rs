//! Helpers for tests of the process runtime.

use gapless_core::spec::{Process, Service, Workload};
use gapless_core::{AppKey, InstanceName, PlacementId, ServiceName, Slot};
use gapless_runtime::process::{ProcessConfig, ProcessRuntime};
use gapless_runtime::{InstancePlan, Runtime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The path of an example of this crate, which cargo builds beside its tests.
pub fn example(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    folder.join("examples").join(name)
}

pub fn service(program: &Path) -> Service {
    let command = vec![program.display().to_string()];
    let workload = Workload::Process(Process { command, directory: "/".into(), user: None });
    Service::new(workload, 0)
}

pub fn runtime(root: &Path) -> ProcessRuntime {
    let config = ProcessConfig {
        root: root.join("processes"),
        owner: "test".into(),
        shim: vec![example("shim").into_os_string()],
    };
    ProcessRuntime::new(config).unwrap()
}

pub fn key() -> AppKey {
    "conformance/production".parse().unwrap()
}

pub async fn plan(runtime: &ProcessRuntime, service: Service) -> InstancePlan {
    let name: InstanceName =
        PlacementId { key: key(), slot: Slot::Green, deployment: 1 }.instance(&ServiceName::default(), 1);
    let artifact = runtime.prepare(&service.workload, Arc::new(|_| {})).await.unwrap();
    InstancePlan { name, release: 1, service, artifact, host_port: None, peers: BTreeMap::new() }
}

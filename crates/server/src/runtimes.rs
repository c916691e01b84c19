//! The runtimes of the host, and the choice of a runtime for a workload.

use gapless_core::Spec;
use gapless_core::spec::Workload;
use gapless_runtime::Runtime;
use std::sync::Arc;

/// The runtimes of this host.
#[derive(Clone)]
pub struct Runtimes {
    /// The runtime of containers.
    pub docker: Arc<dyn Runtime>,
    /// The runtime of processes.
    pub process: Arc<dyn Runtime>,
    /// The runtime of systemd services.
    pub systemd: Arc<dyn Runtime>,
    /// True if the host was booted with systemd.
    pub has_systemd: bool,
}

impl Runtimes {
    /// The runtime that runs all services of `spec`.
    #[must_use]
    pub fn of(&self, spec: &Spec) -> &Arc<dyn Runtime> {
        match spec.main_service().map(|(_, service)| &service.workload) {
            Some(Workload::Process(_)) => &self.process,
            Some(Workload::Systemd(_)) => &self.systemd,
            Some(Workload::Docker(_)) | None => &self.docker,
        }
    }

    /// All runtimes that this host has, with their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Runtime>)> {
        let systemd = self.has_systemd.then_some(("systemd", &self.systemd));
        [("docker", &self.docker), ("process", &self.process)].into_iter().chain(systemd)
    }
}

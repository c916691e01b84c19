//! Which runtime runs which workload.

use gapless_core::Spec;
use gapless_core::spec::Workload;
use gapless_runtime::Runtime;
use std::sync::Arc;

/// The runtimes of this host.
#[derive(Clone)]
pub struct Runtimes {
    /// Containers.
    pub docker: Arc<dyn Runtime>,
    /// Processes.
    pub process: Arc<dyn Runtime>,
}

impl Runtimes {
    /// The one that runs all services of `spec`.
    #[must_use]
    pub fn of(&self, spec: &Spec) -> &Arc<dyn Runtime> {
        match spec.main_service().map(|(_, service)| &service.workload) {
            Some(Workload::Process(_)) => &self.process,
            Some(Workload::Docker(_)) | None => &self.docker,
        }
    }

    /// All of them, with their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Runtime>)> {
        [("docker", &self.docker), ("process", &self.process)].into_iter()
    }
}

//! Events that a controller receives from its own effects and health checks.

use gapless_core::facts::GateEnd;
use gapless_core::gate::GateResult;
use gapless_core::{Artifacts, InstanceName};
use gapless_runtime::RuntimeError;

/// The outcome of an effect or a health check.
pub(super) enum Event {
    Prepared { deployment: u64, result: Result<Artifacts, String> },
    GateEnded { deployment: u64, name: String, end: GateEnd },
    HookEnded { deployment: u64, name: String, result: GateResult },
    Started { name: InstanceName, result: Result<(), RuntimeError> },
    Stopped { name: InstanceName, result: Result<(), RuntimeError> },
    Frozen { name: InstanceName, is_frozen: bool, result: Result<(), RuntimeError> },
    Kept { result: Result<(), RuntimeError> },
    RestartSet { name: InstanceName, comes_back: bool, result: Result<(), RuntimeError> },
    Health { has_passed: bool },
}

impl Event {
    /// True if the instances must be listed again.
    pub(super) const fn concerns_instances(&self) -> bool {
        // An instance that fails its check may be gone although the event of its exit was lost.
        matches!(
            self,
            Event::Started { .. } | Event::Stopped { .. } | Event::Frozen { .. } | Event::Health { has_passed: false }
        )
    }
}

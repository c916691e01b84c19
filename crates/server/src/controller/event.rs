//! Events that a controller receives from its own effects and health checks.

use gapless_core::facts::GateEnd;
use gapless_core::gate::GateResult;
use gapless_core::{Artifacts, InstanceName};
use gapless_runtime::RuntimeError;

/// What a controller is told by its own effects and checks.
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
    /// Whether the instances are to be listed again.
    pub(super) const fn concerns_instances(&self) -> bool {
        // An instance that fails its check may be gone, with the event of it lost.
        matches!(
            self,
            Event::Started { .. } | Event::Stopped { .. } | Event::Frozen { .. } | Event::Health { has_passed: false }
        )
    }
}

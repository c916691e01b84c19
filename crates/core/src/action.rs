//! Actions: the effects that the state machine asks the controller for. Each can be repeated without harm.

use crate::application::{KeptRelease, Promotion};
use crate::{InstanceName, Millis};

/// An effect on the world. Each step derives the actions from the record and the facts, so a lost action is asked for
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Resolve and fetch the active deployment's release.
    Prepare,
    /// Make the instance exist and run.
    Start(InstanceName),
    /// Stop and remove the instance: SIGTERM, and SIGKILL after `grace`.
    Stop {
        /// The instance.
        name: InstanceName,
        /// The time from SIGTERM to SIGKILL.
        grace: Millis,
    },
    /// Set the restart policy of the instance.
    SetRestart {
        /// The instance.
        name: InstanceName,
        /// The runtime starts the instance after a reboot of the host.
        comes_back: bool,
    },
    /// Freeze the instance: its memory stays, and it gets no processor time.
    Freeze(InstanceName),
    /// Resume a frozen instance.
    Thaw(InstanceName),
    /// Retain the artifacts of these releases on the host, and remove all others of this application.
    Keep(Vec<KeptRelease>),
    /// Check the health of the instance from now on.
    Probe {
        /// The instance.
        name: InstanceName,
        /// The frequency of the checks.
        pace: Pace,
    },
    /// Run an attempt of a gate of the active deployment. An attempt that is no longer asked for is stopped.
    RunGate {
        /// The gate's name.
        name: String,
        /// The number of the attempt, from 1.
        attempt: u16,
    },
    /// Run a hook of the active deployment. The action repeats until the hook has ended; the hook starts once.
    RunHook(String),
    /// Deploy a release that has succeeded here into another environment.
    Promote(Promotion),
    /// Remove the records of the application: nothing of it exists any more.
    Forget,
}

/// The frequency of an instance's health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pace {
    /// Immediately, then after 2 ms, growing to the configured interval: a deployment waits for the result.
    Eager,
    /// At the configured interval: the slot is under observation.
    Close,
    /// At fifteen times the configured interval: events report exits, the data plane reports refused connections, and
    /// the only instance of a slot stays in rotation whatever a check says.
    Steady,
}

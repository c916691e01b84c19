//! What is to be done to the world: values that the controller carries out, each of which can be repeated.

use crate::application::{KeptRelease, Promotion};
use crate::{InstanceName, Millis};

/// One thing to do. Which ones is derived anew from record and facts each time, so what was lost is done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Resolve and fetch the active deployment's release.
    Prepare,
    /// See to it that the instance exists and runs.
    Start(InstanceName),
    /// Stop and remove the instance: SIGTERM, and SIGKILL after `grace`.
    Stop {
        /// Which.
        name: InstanceName,
        /// From SIGTERM to SIGKILL.
        grace: Millis,
    },
    /// Say whether the instance comes back by itself after the host restarts.
    SetRestart {
        /// Which.
        name: InstanceName,
        /// Whether it does.
        comes_back: bool,
    },
    /// Freeze the instance: it keeps its memory and takes no processor time.
    Freeze(InstanceName),
    /// Let a frozen instance go on.
    Thaw(InstanceName),
    /// Keep what these releases run on the host, and nothing else of this application.
    Keep(Vec<KeptRelease>),
    /// Check the health of the instance from now on.
    Probe {
        /// Which.
        name: InstanceName,
        /// How often.
        pace: Pace,
    },
    /// Carry out an attempt of a gate of the active deployment. One that is not asked for any more is ended.
    RunGate {
        /// The gate's name.
        name: String,
        /// Which attempt, from 1.
        attempt: u16,
    },
    /// Carry out a hook of the active deployment. It is asked for until its end is known, and begun once.
    RunHook(String),
    /// Have a release that has succeeded here deployed into another environment.
    Promote(Promotion),
    /// Everything of the application is gone: remove its records.
    Forget,
}

/// How often an instance's health is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pace {
    /// At once, then after 2 ms, growing to the configured interval: someone waits for the answer.
    Eager,
    /// At the configured interval: it is observed.
    Close,
    /// Fifteen times as rarely: exits are told by events, the data plane tells of refused connections, and the only
    /// instance of a slot is not taken out of rotation whatever a check says.
    Steady,
}

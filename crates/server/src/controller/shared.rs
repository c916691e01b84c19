//! The state that all controllers of a server share.

use crate::clock::Clock;
use crate::gates::GateRunner;
use crate::health::Prober;
use crate::planes::Planes;
use crate::records::Records;
use crate::runtimes::Runtimes;
use crate::tables::Tables;
use gapless_core::application::Promotion;
use gapless_core::{AppKey, Millis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc};

/// The interval at which a controller checks everything even without an event: notifications may be lost.
pub(super) const RECHECK_AFTER: Millis = Millis::from_secs(30);
/// The channel on which controllers request promotions of a release of an application and environment.
pub type PromotionSender = mpsc::UnboundedSender<(AppKey, Promotion)>;

/// The values that all controllers of a server use.
pub struct Shared {
    /// The records.
    pub records: Records,
    /// The drivers that run instances.
    pub runtimes: Runtimes,
    /// The data planes.
    pub planes: Planes,
    /// The wanted route table.
    pub tables: Tables,
    /// The requests for promotions.
    pub promotions: PromotionSender,
    /// The id of this run of the server: a new one at each start.
    pub run: String,
    /// The clock.
    pub clock: Clock,
    /// The function that checks instances.
    pub prober: Prober,
    /// The function that carries out gates.
    pub gate_runner: GateRunner,
    /// The output of gates, for clients that follow.
    pub outputs: broadcast::Sender<GateLine>,
    /// The applications whose records or progress changed, for clients that follow.
    pub changes: broadcast::Sender<AppKey>,
    /// The progress of long steps, such as a pull.
    pub progress: Progress,
}

/// A line of output of a gate.
#[derive(Debug, Clone)]
pub struct GateLine {
    /// The application and environment.
    pub key: AppKey,
    /// The deployment.
    pub deployment: u64,
    /// The gate.
    pub gate: String,
    /// The line.
    pub line: String,
}

/// The progress of the long step of each application's active deployment.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<AppKey, gapless_runtime::Progress>>>);

impl Progress {
    /// The long step in progress, if there is one.
    #[must_use]
    pub fn of(&self, key: &AppKey) -> Option<gapless_runtime::Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn set(&self, key: &AppKey, progress: Option<gapless_runtime::Progress>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Some(progress) => all.insert(key.clone(), progress),
            None => all.remove(key),
        };
    }
}

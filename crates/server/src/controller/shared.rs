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

/// A controller looks again after that time, whatever happens or does not: hints may be lost.
pub(super) const LOOK_AGAIN_AFTER: Millis = Millis::from_secs(30);
/// Requests of controllers to promote a release of an application and environment.
pub type PromotionSender = mpsc::UnboundedSender<(AppKey, Promotion)>;

/// What all controllers work with.
pub struct Shared {
    /// The records.
    pub records: Records,
    /// What runs instances.
    pub runtimes: Runtimes,
    /// The data planes.
    pub planes: Planes,
    /// The wanted route table.
    pub tables: Tables,
    /// Where promotions are asked for.
    pub promotions: PromotionSender,
    /// Which run of the server this is: another one at each start.
    pub run: String,
    /// What time it is.
    pub clock: Clock,
    /// How instances are checked.
    pub prober: Prober,
    /// How gates are carried out.
    pub gate_runner: GateRunner,
    /// What gates say, for those who follow them.
    pub outputs: broadcast::Sender<GateLine>,
    /// Told which application's records or progress changed, for those who follow them.
    pub changes: broadcast::Sender<AppKey>,
    /// How far a long step is, such as a pull.
    pub progress: Progress,
}

/// A line that a gate said.
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

/// How far the long step of each application's active deployment is.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<AppKey, gapless_runtime::Progress>>>);

impl Progress {
    /// The long step that is under way, if one is.
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

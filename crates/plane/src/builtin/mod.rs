//! gapless's own proxy as a data plane, reached over its control socket.

use crate::plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus};
mod supervisor;

pub use supervisor::{ProxyProcess, Supervisor, SupervisorError};

use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::deployment::Traffic;
use gapless_core::facts::HeldSeen;
use gapless_core::routes::RouteChange;
use gapless_proxy::control::{self, Client, ControlError, OwnAnswers, PlacementTraffic};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The wait before a proxy that does not answer is asked again.
const AWAY_RETRY_AFTER: Duration = Duration::from_millis(20);

/// gapless's own proxy.
pub struct Builtin {
    client: Client,
    supervisor: Arc<Supervisor>,
    sequence: AtomicU64,
}

impl Builtin {
    /// The proxy that `supervisor` runs.
    #[must_use]
    pub fn new(supervisor: Arc<Supervisor>) -> Self {
        Builtin { client: Client::new(supervisor.control_socket()), supervisor, sequence: AtomicU64::new(0) }
    }
}

#[async_trait]
impl DataPlane for Builtin {
    fn name(&self) -> String {
        "proxy".to_owned()
    }

    async fn info(&self) -> PlaneInfo {
        self.supervisor.info().await
    }

    async fn check(&self) -> Result<String, String> {
        self.supervisor.check().await
    }

    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        match self.client.put_table(table).await {
            Ok(applied) => {
                warn_unless_persisted(&applied);
                Ok(ApplyReport::default())
            }
            Err(ControlError::Conflict { version, .. }) => Err(PlaneError::Newer(version)),
            Err(error) => Err(away(error)),
        }
    }

    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
        match self.client.patch_table(change).await {
            Ok(applied) => {
                warn_unless_persisted(&applied);
                Ok(ApplyReport::default())
            }
            Err(ControlError::Conflict { .. }) => Err(PlaneError::OtherBase),
            Err(error) => Err(away(error)),
        }
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        let status = self.client.status().await.map_err(away)?;
        self.sequence.store(status.sequence, Ordering::Relaxed);
        let placements = || status.placements.iter().map(|(id, traffic)| (id.clone(), traffic));
        Ok(PlaneStatus {
            version: status.applied_version,
            is_in_flight_unknown: status.is_in_flight_unknown,
            in_flight: placements().filter(|(_, t)| t.in_flight > 0).map(|(id, t)| (id, t.in_flight)).collect(),
            traffic: placements().map(|(id, t)| (id, traffic(t))).collect(),
            latencies: placements()
                .filter(|(_, t)| !t.latencies.is_empty())
                .map(|(id, t)| (id, t.latencies.iter().copied().collect()))
                .collect(),
            held: status.groups.iter().map(|(key, own)| (key.clone(), held(own))).collect(),
            circuit_open: placements().filter_map(|(id, t)| Some((id, u64::from(t.given_up?)))).collect(),
            refused: placements().map(|(id, t)| (id, refused(t))).filter(|(_, count)| *count > 0).collect(),
        })
    }

    async fn wait_for_change(&self, within: Duration) {
        let seen = self.sequence.load(Ordering::Relaxed);
        if self.client.changes(seen, within).await.is_err() {
            tokio::time::sleep(AWAY_RETRY_AFTER).await;
        }
    }
}

/// The counts of a placement. A request is lost if an attempt failed and no other attempt followed.
fn traffic(seen: &PlacementTraffic) -> Traffic {
    let attempts_failed = seen.failures.connect + seen.failures.reset + seen.failures.timeout;
    Traffic {
        requests: seen.requests,
        failed: attempts_failed.saturating_sub(seen.retries),
        errors: seen.answers.server_error,
        retried: seen.retries,
        fallen_back: seen.fallbacks,
        refused: seen.failures.connect,
        reset: seen.failures.reset,
        timed_out: seen.failures.timeout,
    }
}

fn held(own: &OwnAnswers) -> HeldSeen {
    HeldSeen { count: own.held, longest_us: own.held_longest_us, release_us: own.held_release_us }
}

fn refused(seen: &PlacementTraffic) -> u64 {
    seen.instances.iter().map(|instance| instance.connect_failures).sum()
}

fn away(error: ControlError) -> PlaneError {
    PlaneError::Away(error.to_string())
}

fn warn_unless_persisted(applied: &control::Acknowledgement) {
    if let Some(error) = &applied.error {
        tracing::error!(
            version = applied.version,
            "the proxy did not write its routes to disk: {error}; a restarted proxy would start with old ones"
        );
    }
}

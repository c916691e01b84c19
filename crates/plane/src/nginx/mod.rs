//! nginx as a data plane: gapless writes a file for each application, and lets nginx test and read it. A configuration
//! counts as applied once nginx itself reports it and the old workers take no more requests.
//!
//! Measured: nginx sends requests to the old slot for up to 317 ms after the command to reload has returned.

mod apply;
mod choice;
mod files;
mod generate;
mod generations;
mod location;
mod marker;
mod master;
mod program;
mod settings;
mod syntax;
mod template;
mod template_facts;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
mod unsupported;

pub use settings::{NginxConfig, NginxContainer};
pub use unsupported::unsupported;

use crate::plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus};
use apply::NginxState;
use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::routes::RouteChange;
use gapless_runtime::docker::DockerRuntime;
use location::Location;
use master::Master;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often nginx is inspected while old workers are ending.
const POLL_DRAINING: Duration = Duration::from_millis(50);
/// How often nginx is inspected otherwise.
const POLL_STEADY: Duration = Duration::from_millis(250);

/// An nginx that carries requests.
pub struct Nginx {
    settings: NginxConfig,
    location: Location,
    /// The last known state; locked during a change.
    state: tokio::sync::Mutex<NginxState>,
    /// The current problem, for people.
    problem: Mutex<Option<String>>,
}

impl Nginx {
    /// The driver of the nginx that `settings` describes.
    #[must_use]
    pub fn new(settings: NginxConfig, docker: Arc<DockerRuntime>) -> Self {
        Nginx {
            location: Location::new(&settings, docker),
            settings,
            state: tokio::sync::Mutex::default(),
            problem: Mutex::default(),
        }
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, state: &mut NginxState, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        let applied = apply::apply(&self.location, &self.settings, state, table).await;
        *self.problem() = match &applied {
            Ok(applied) => applied.rejected.iter().next().map(|(key, rejected)| format!("{key}: {}", rejected.why)),
            Err(error) => Some(error.to_string()),
        };
        applied.map_err(|error| PlaneError::Problem(error.to_string()))
    }
}

#[async_trait]
impl DataPlane for Nginx {
    fn name(&self) -> String {
        "nginx".to_owned()
    }

    async fn info(&self) -> PlaneInfo {
        let running = self.location.find(&self.settings).await.ok();
        let answers = match running {
            Some(running) => marker::fetch(running.status).await.is_ok(),
            None => false,
        };
        PlaneInfo {
            name: self.name(),
            pid: running.map(|running| running.master.0),
            listen: self.settings.listen.clone(),
            is_up: answers,
        }
    }

    async fn check(&self) -> Result<String, String> {
        let running = self.location.find(&self.settings).await.map_err(|error| error.to_string())?;
        if let Some(problem) = self.problem().clone() {
            return Err(problem);
        }
        let marker = match marker::fetch(running.status).await {
            Ok(marker) => marker,
            Err(why) => {
                self.location.forget_found();
                return Err(apply::unanswered(&self.settings, running.status, &why));
            }
        };
        // A mistake outside gapless's files is harmless until nginx restarts or reloads. Not tested during a change.
        if let Ok(_no_change) = self.state.try_lock()
            && let Err(why) = program::test_all(&self.location, &self.settings).await
        {
            return Err(apply::ApplyError::Broken { why }.to_string());
        }
        let Master(pid) = running.master;
        Ok(format!("nginx (process {pid}) applies the routes of version {}", marker.version))
    }

    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        let mut state = self.state.lock().await;
        self.apply(&mut state, table).await
    }

    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
        let mut state = self.state.lock().await;
        let Some(mut table) = state.table.clone().filter(|table| table.version == change.base) else {
            return Err(PlaneError::OtherBase);
        };
        table.change(change);
        self.apply(&mut state, &table).await
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        let mut state = self.state.lock().await;
        let away = |why: String| {
            *self.problem() = Some(why.clone());
            PlaneError::Problem(why)
        };
        let running = self.location.find(&self.settings).await.map_err(|error| away(error.to_string()))?;
        let marker = marker::fetch(running.status).await.map_err(|why| {
            self.location.forget_found();
            away(apply::unanswered(&self.settings, running.status, &why))
        })?;
        state.generations.remove_ended(&running.master.workers().map_err(|error| away(error.to_string()))?);
        let in_flight = state.generations.in_flight();
        // With a configuration of another digest, nginx applies no known table.
        let version =
            state.table.as_ref().filter(|_| state.digest == Some(marker.digest)).map_or(0, |table| table.version);
        Ok(PlaneStatus {
            version,
            is_in_flight_unknown: in_flight.is_none(),
            in_flight: in_flight.unwrap_or_default(),
            ..PlaneStatus::default()
        })
    }

    async fn wait_for_change(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        let before = self.state.lock().await.generations.count();
        let every = if before > 0 { POLL_DRAINING } else { POLL_STEADY };
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(every.min(within)).await;
            let Ok(running) = self.location.find(&self.settings).await else { return };
            let Ok(workers) = running.master.workers() else { return };
            let mut state = self.state.lock().await;
            state.generations.remove_ended(&workers);
            if state.generations.count() != before {
                return;
            }
        }
    }
}

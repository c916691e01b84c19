//! nginx as a data plane: gapless writes a file an application, has nginx test and read it, and believes that it goes by
//! it only once nginx says so itself and its old workers take no more requests.
//!
//! Measured: nginx sends requests to the old slot for up to 317 ms after the command to reload has returned.

mod apply;
mod choice;
mod files;
mod generate;
mod generations;
mod master;
mod own;
mod place;
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
use apply::Known;
use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::routes::RouteChange;
use gapless_runtime::docker::DockerRuntime;
use master::Master;
use place::Place;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked whether old workers have ended, while there are some.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether nginx runs.
const LOOK_STEADY: Duration = Duration::from_millis(250);

/// An nginx that carries requests.
pub struct Nginx {
    settings: NginxConfig,
    place: Place,
    /// What is known of it; held for as long as it is told something.
    known: tokio::sync::Mutex<Known>,
    /// Why it is not as it should be, for people.
    problem: Mutex<Option<String>>,
}

impl Nginx {
    /// The nginx at that place.
    #[must_use]
    pub fn new(settings: NginxConfig, docker: Arc<DockerRuntime>) -> Self {
        Nginx {
            place: Place::new(&settings, docker),
            settings,
            known: tokio::sync::Mutex::default(),
            problem: Mutex::default(),
        }
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, known: &mut Known, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        let applied = apply::apply(&self.place, &self.settings, known, table).await;
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
        let running = self.place.find(&self.settings).await.ok();
        let answers = match running {
            Some(running) => own::ask(running.status).await.is_ok(),
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
        let running = self.place.find(&self.settings).await.map_err(|error| error.to_string())?;
        if let Some(problem) = self.problem().clone() {
            return Err(problem);
        }
        let marker = match own::ask(running.status).await {
            Ok(marker) => marker,
            Err(why) => {
                self.place.doubt();
                return Err(apply::unanswered(&self.settings, running.status, &why));
            }
        };
        // Somebody else's mistake is harmless until nginx is started again, or told to reload.
        if let Ok(_nothing_is_being_changed) = self.known.try_lock()
            && let Err(why) = program::test_all(&self.place, &self.settings).await
        {
            return Err(apply::ApplyError::Broken { why }.to_string());
        }
        let Master(pid) = running.master;
        Ok(format!("nginx (process {pid}) goes by the routes of version {}", marker.version))
    }

    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        let mut known = self.known.lock().await;
        self.apply(&mut known, table).await
    }

    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
        let mut known = self.known.lock().await;
        let Some(mut table) = known.table.clone().filter(|table| table.version == change.base) else {
            return Err(PlaneError::OtherBase);
        };
        table.change(change);
        self.apply(&mut known, &table).await
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        let mut known = self.known.lock().await;
        let away = |why: String| {
            *self.problem() = Some(why.clone());
            PlaneError::Problem(why)
        };
        let running = self.place.find(&self.settings).await.map_err(|error| away(error.to_string()))?;
        let marker = own::ask(running.status).await.map_err(|why| {
            self.place.doubt();
            away(apply::unanswered(&self.settings, running.status, &why))
        })?;
        known.generations.look(&running.master.workers().map_err(|error| away(error.to_string()))?);
        let in_flight = known.generations.in_flight();
        // With a configuration of another time it goes by no table that is known.
        let version =
            known.table.as_ref().filter(|_| known.digest == Some(marker.digest)).map_or(0, |table| table.version);
        Ok(PlaneStatus {
            version,
            is_in_flight_unknown: in_flight.is_none(),
            in_flight: in_flight.unwrap_or_default(),
            ..PlaneStatus::default()
        })
    }

    async fn wait_for_change(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        let before = self.known.lock().await.generations.count();
        let every = if before > 0 { LOOK_EVERY } else { LOOK_STEADY };
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(every.min(within)).await;
            let Ok(running) = self.place.find(&self.settings).await else { return };
            let Ok(seen) = running.master.workers() else { return };
            let mut known = self.known.lock().await;
            known.generations.look(&seen);
            if known.generations.count() != before {
                return;
            }
        }
    }
}

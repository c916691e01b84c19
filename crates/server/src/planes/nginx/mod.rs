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
mod program;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod unsupported;

pub use settings::NginxConfig;
pub use unsupported::unsupported;

use super::{Applied, DataPlane, PlaneError, PlaneStatus};
use apply::Known;
use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::routes::RouteChange;
use master::Master;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked whether old workers have ended, while there are some.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether nginx runs.
const LOOK_STEADY: Duration = Duration::from_millis(250);

/// An nginx that carries requests.
pub struct Nginx {
    settings: NginxConfig,
    /// What is known of it; held for as long as it is told something.
    known: tokio::sync::Mutex<Known>,
    /// Why it is not as it should be, for people.
    problem: Mutex<Option<String>>,
}

impl Nginx {
    /// The nginx at that place.
    #[must_use]
    pub fn new(settings: NginxConfig) -> Self {
        Nginx { settings, known: tokio::sync::Mutex::default(), problem: Mutex::default() }
    }

    /// What is told of it.
    pub async fn info(&self) -> PlaneInfo {
        let master = Master::find(&self.settings.pid_file).ok();
        let answers = own::ask(self.settings.status).await.is_ok();
        PlaneInfo {
            name: self.name(),
            pid: master.map(|master| master.0),
            listen: self.settings.listen.clone(),
            is_up: master.is_some() && answers,
        }
    }

    /// Whether it is as it should be: what it does, or what is wrong and what to do.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self) -> Result<String, String> {
        let master = Master::find(&self.settings.pid_file).map_err(|error| error.to_string())?;
        if let Some(problem) = self.problem().clone() {
            return Err(problem);
        }
        let marker = match own::ask(self.settings.status).await {
            Ok(marker) => marker,
            Err(why) => return Err(apply::unanswered(&self.settings, &why)),
        };
        let Master(pid) = master;
        Ok(format!("nginx (process {pid}) goes by the routes of version {}", marker.version))
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, known: &mut Known, table: &RouteTable) -> Result<Applied, PlaneError> {
        let applied = apply::apply(&self.settings, known, table).await;
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

    async fn replace(&self, table: &RouteTable) -> Result<Applied, PlaneError> {
        let mut known = self.known.lock().await;
        self.apply(&mut known, table).await
    }

    async fn change(&self, change: &RouteChange) -> Result<Applied, PlaneError> {
        let mut known = self.known.lock().await;
        let Some(mut table) = known.table.clone().filter(|table| table.version == change.base) else {
            return Err(PlaneError::OtherBase);
        };
        table.version = change.version;
        for (key, group) in &change.groups {
            match group {
                Some(group) => table.groups.insert(key.clone(), group.clone()),
                None => table.groups.remove(key),
            };
        }
        self.apply(&mut known, &table).await
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        let mut known = self.known.lock().await;
        let away = |why: String| {
            *self.problem() = Some(why.clone());
            PlaneError::Problem(why)
        };
        let master = Master::find(&self.settings.pid_file).map_err(|error| away(error.to_string()))?;
        let marker = own::ask(self.settings.status).await;
        let marker = marker.map_err(|why| away(apply::unanswered(&self.settings, &why)))?;
        known.generations.look(&master.workers());
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

    async fn notice(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        let before = self.known.lock().await.generations.count();
        let every = if before > 0 { LOOK_EVERY } else { LOOK_STEADY };
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(every.min(within)).await;
            let Ok(master) = Master::find(&self.settings.pid_file) else { return };
            let mut known = self.known.lock().await;
            known.generations.look(&master.workers());
            if known.generations.count() != before {
                return;
            }
        }
    }
}

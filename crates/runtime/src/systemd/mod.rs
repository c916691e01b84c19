//! systemd: instances as its services, its D-Bus interface, and unit files.
//!
//! An instance has a unit file, so that `systemctl status`, `cat` and `stop` work as for any service. Only the units of
//! the live slot are enabled, so only they start after a reboot.

mod events;
mod journal;
mod manager;
mod status;
mod unit;
mod unit_file;

pub use manager::{Manager, ManagerError};
pub use unit_file::{BadValue, UnitFile};

use crate::process::folder::{self, Folders, Plan, failed, removed};
use crate::process::{program, start};
use crate::{InstancePlan, InstanceStatus, LogLine, LogQuery, ProgressSink, Runtime, RuntimeError, RuntimeEvent, port};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gapless_core::spec::{Process, Workload};
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use gapless_effect::{Point, step};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a unit may take to execute its program.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long killed processes may take to disappear: the kernel frees their memory first.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// The folders of the services.
#[derive(Debug, Clone)]
pub struct SystemdConfig {
    /// The folder of plans and programs.
    pub root: PathBuf,
    /// The folder of unit files: `/etc/systemd/system`.
    pub units: PathBuf,
}

/// Runs instances as services of systemd.
pub struct SystemdRuntime {
    folders: Folders,
    units: PathBuf,
    manager: Manager,
    /// Serializes changes: choosing a port, and writing and reading unit files.
    changing: Mutex<()>,
}

impl SystemdRuntime {
    /// Creates a runtime on the folder, which is created if missing. Does not contact systemd.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn new(config: SystemdConfig) -> Result<Self, RuntimeError> {
        let folders = Folders::new(config.root)?;
        program::remove_unfinished(&folders, true);
        Ok(SystemdRuntime { folders, units: config.units, manager: Manager::default(), changing: Mutex::default() })
    }

    async fn status(&self, name: &InstanceName) -> Result<Option<InstanceStatus>, RuntimeError> {
        // A folder without a plan is listed as for processes, so that it gets removed.
        let Some(plan) = self.plan(name)? else { return self.folders.status(name.clone()) };
        let doing = format!("inspecting {name}");
        let properties = self.manager.service(&unit::name(&plan)).await.map_err(|error| failed_call(&doing, &error))?;
        Ok(Some(status::of(&plan, &properties)))
    }

    fn plan(&self, name: &InstanceName) -> Result<Option<Plan>, RuntimeError> {
        folder::read(&self.folders.plan(name))
    }

    /// The unit of an instance, if it has one.
    fn unit(&self, name: &InstanceName) -> Result<Option<String>, RuntimeError> {
        Ok(self.plan(name)?.map(|plan| unit::name(&plan)))
    }

    fn path(&self, unit: &str) -> PathBuf {
        self.units.join(unit)
    }

    /// Writes the variables of an instance, and its unit file if that has changed.
    fn write_unit(&self, plan: &Plan, starts_at_boot: bool) -> Result<(), RuntimeError> {
        let cannot = |why: String| RuntimeError::Start { name: plan.name.clone(), why };
        let folder = self.folders.of(&plan.name);
        let path = self.path(&unit::name(plan));
        let text = unit::file(plan, &folder, starts_at_boot).text().map_err(|error| cannot(error.to_string()))?;
        if unit::is_others(&path, &folder) {
            return Err(cannot(format!("{} exists, and this gapless did not write it; move it away", path.display())));
        }
        let variables = folder.join("environment");
        write(&variables, &unit_file::environment(&plan.variables), 0o600)
            .map_err(|error| failed(&variables, &error))?;
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write(&path, &text, 0o644).map_err(|error| failed(&path, &error))
    }
}

#[async_trait]
impl Runtime for SystemdRuntime {
    async fn prepare(&self, workload: &Workload, _: ProgressSink) -> Result<String, RuntimeError> {
        let process = process_of(workload).cloned().ok_or_else(|| failed_to("preparing", &"it is not a program"))?;
        self.folders.blocking(move |folders| program::keep(folders, &process)).await
    }

    async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError> {
        let Some(process) = process_of(workload).cloned() else { return Ok(None) };
        self.folders.blocking(move |_| Ok(program::checksum(&process))).await
    }

    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError> {
        let cannot = |why: String| RuntimeError::Start { name: plan.name.clone(), why };
        let _one_at_a_time = self.changing.lock().await;
        if self.status(&plan.name).await?.is_some_and(|status| status.is_there()) {
            return Ok(());
        }
        let process = process_of(&plan.service.workload).cloned();
        let process = process.ok_or_else(|| cannot("it is not a program".to_owned()))?;
        let of = plan.clone();
        let before = self.unit(&plan.name)?;
        self.folders.blocking(move |folders| start::plan(folders, &of, &process)).await?;
        let written = self.plan(&plan.name)?.ok_or_else(|| cannot("its plan was not written".to_owned()))?;
        let unit = unit::name(&written);
        let starts_at_boot = before.as_ref().is_some_and(|before| unit::starts_at_boot(&self.path(before)));
        // The port, and so the unit's name, has changed: another program took the old port.
        if let Some(before) = before.filter(|before| *before != unit) {
            self.remove_unit(&plan.name, &before, Millis(0)).await?;
        }
        self.write_unit(&written, starts_at_boot)?;
        let started = async {
            self.manager.reload().await?;
            // Without a reset, systemd rejects the start of a service that failed a few times.
            self.manager.reset_failed(&unit).await?;
            self.manager.restart(&unit, START_DEADLINE).await
        };
        match started.await {
            Err(error @ ManagerError::Job { .. }) => Err(cannot(error.to_string())),
            other => other.map_err(|error| failed_call(&format!("starting {}", plan.name), &error)),
        }
    }

    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError> {
        let mut all = Vec::new();
        for name in self.names().await?.into_iter().filter(|name| name.placement.key == *key) {
            all.extend(self.status(&name).await?);
        }
        Ok(all)
    }

    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError> {
        let mut all = Vec::new();
        for name in self.names().await? {
            all.extend(self.status(&name).await?);
        }
        Ok(all)
    }

    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
        self.thaw(name).await?;
        let folder = self.folders.of(name);
        if !folder.exists() {
            return Ok(());
        }
        let _one_at_a_time = self.changing.lock().await;
        if let Some(unit) = self.unit(name)? {
            self.remove_unit(name, &unit, grace).await?;
        }
        // Last: an instance exists as long as it has a folder.
        step(Point::UnitFolder, || removed(fs::remove_dir_all(&folder))).map_err(|error| failed(&folder, &error))?;
        self.folders.release(&name.placement)
    }

    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let Some(unit) = self.unit(name)? else { return Ok(()) };
        if !self.status(name).await?.is_some_and(|status| status.is_running()) {
            return Ok(());
        }
        let frozen = self.manager.set_frozen(&unit, true).await;
        frozen.map_err(|error| failed_call(&format!("freezing {name}"), &error))
    }

    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let Some(unit) = self.unit(name)? else { return Ok(()) };
        if !self.status(name).await?.is_some_and(|status| status.is_there() && !status.is_running()) {
            return Ok(());
        }
        let thawed = self.manager.set_frozen(&unit, false).await;
        thawed.map_err(|error| failed_call(&format!("thawing {name}"), &error))
    }

    async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError> {
        let (key, kept) = (key.clone(), kept.clone());
        self.folders.blocking(move |folders| program::keep_only(folders, &key, &kept)).await
    }

    async fn set_restart(&self, name: &InstanceName, starts_at_boot: bool) -> Result<(), RuntimeError> {
        let _one_at_a_time = self.changing.lock().await;
        let Some(plan) = self.plan(name)? else { return Ok(()) };
        let unit = unit::name(&plan);
        let path = self.path(&unit);
        if !path.exists() || unit::starts_at_boot(&path) == starts_at_boot {
            return Ok(());
        }
        let doing = format!("enabling or disabling {name} at boot");
        // Before the unit file is written: the file records what has been done.
        let set =
            if starts_at_boot { self.manager.enable(&[&unit]).await } else { self.manager.disable(&[&unit]).await };
        set.map_err(|error| failed_call(&doing, &error))?;
        self.write_unit(&plan, starts_at_boot)?;
        self.manager.reload().await.map_err(|error| failed_call(&doing, &error))
    }

    async fn logs(
        &self,
        name: &InstanceName,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        journal::logs(name, self.folders.of(name), query).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        events::events(self.folders.clone()).await.map_err(|error| failed_call("listening to systemd", &error))
    }

    async fn listening_ports(&self, name: &InstanceName) -> Vec<u16> {
        let Ok(Some(unit)) = self.unit(name) else { return Vec::new() };
        let processes = self.manager.processes(&unit).await.unwrap_or_default();
        port::ports_of(&processes)
    }

    async fn check(&self) -> Result<String, RuntimeError> {
        let version = self.manager.version().await.map_err(|error| failed_call("asking systemd", &error))?;
        Ok(format!("services of systemd {version}"))
    }
}

impl SystemdRuntime {
    /// Stops the service of an instance and removes its unit. A unit file that gapless did not write stays.
    async fn remove_unit(&self, name: &InstanceName, unit: &str, grace: Millis) -> Result<(), RuntimeError> {
        let path = self.path(unit);
        if unit::is_others(&path, &self.folders.of(name)) {
            return Ok(());
        }
        let doing = format!("stopping {name}");
        match self.manager.job("StopUnit", unit).await {
            Ok(mut job) => {
                if let Err(ManagerError::Timeout { .. }) = job.done(grace.to_duration()).await {
                    self.manager.kill(unit, SIGKILL).await.map_err(|error| failed_call(&doing, &error))?;
                    job.done(KILL_DEADLINE).await.map_err(|error| failed_call(&doing, &error))?;
                }
            }
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(failed_call(&doing, &error)),
        }
        let forgotten = async {
            if path.exists() {
                self.manager.disable(&[unit]).await?;
            }
            self.manager.reset_failed(unit).await
        };
        forgotten.await.map_err(|error| failed_call(&doing, &error))?;
        step(Point::UnitRemove, || removed(fs::remove_file(&path))).map_err(|error| failed(&path, &error))?;
        self.manager.reload().await.map_err(|error| failed_call(&doing, &error))
    }

    async fn names(&self) -> Result<Vec<InstanceName>, RuntimeError> {
        self.folders
            .blocking(|folders| {
                let mut names = folders.names()?;
                names.sort();
                Ok(names)
            })
            .await
    }
}

const fn process_of(workload: &Workload) -> Option<&Process> {
    match workload {
        Workload::Systemd(process) => Some(process),
        Workload::Docker(_) | Workload::Process(_) => None,
    }
}

/// The runtime's error for an error of systemd.
fn failed_call(doing: &str, error: &ManagerError) -> RuntimeError {
    match error {
        ManagerError::Unreachable(_) => RuntimeError::Unavailable { runtime: "systemd", why: error.to_string() },
        ManagerError::Timeout { deadline, .. } => {
            RuntimeError::Timeout { runtime: "systemd", doing: doing.to_owned(), seconds: deadline.as_secs() }
        }
        ManagerError::Refused { .. } | ManagerError::Job { .. } => failed_to(doing, error),
    }
}

fn failed_to(doing: &str, why: &impl ToString) -> RuntimeError {
    RuntimeError::Failed { doing: doing.to_owned(), why: why.to_string() }
}

/// Writes a file atomically.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    removed(fs::remove_file(&beside))?;
    let make = || fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let mut file = step(Point::UnitCreate, make)?;
    step(Point::UnitWrite, || file.write_all(text.as_bytes()))?;
    step(Point::UnitSync, || file.sync_all())?;
    step(Point::UnitRename, || fs::rename(&beside, path))
}

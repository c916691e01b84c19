//! Instances as processes of this host. Each has a small supervisor, the *shim*, which keeps its output and exit code
//! while no server runs, and ends all its descendants.

mod cgroup;
pub(crate) mod folder;
mod freeze;
mod identity;
mod logs;
mod ports;
pub(crate) mod program;
pub mod shim;
pub(crate) mod start;
mod state;
mod stop;
mod watch;

use crate::{InstancePlan, InstanceStatus, LogLine, LogQuery, ProgressSink, Runtime, RuntimeError, RuntimeEvent, port};
use async_trait::async_trait;
use folder::Folders;
use futures_util::stream::BoxStream;
use gapless_core::spec::Workload;
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use tokio::sync::Mutex;
use watch::Watch;

/// The folder of the processes, and their supervisor.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The folder of plans, states and logs.
    pub root: PathBuf,
    /// The owner, for the processes' environment only: all processes in `root` are this owner's.
    pub owner: String,
    /// The program and arguments of a shim; the instance's folder is appended.
    pub shim: Vec<OsString>,
}

/// Runs instances as processes of this host.
pub struct ProcessRuntime {
    folders: Folders,
    shim: Vec<OsString>,
    watch: Watch,
    /// Serializes the choice of ports.
    choosing_port: Mutex<()>,
}

impl ProcessRuntime {
    /// Creates a runtime on the folder, which is created if missing.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn new(config: ProcessConfig) -> Result<Self, RuntimeError> {
        let folders = Folders::new(config.root)?;
        program::remove_unfinished(&folders, true);
        Ok(ProcessRuntime { folders, shim: config.shim, watch: Watch::default(), choosing_port: Mutex::default() })
    }

    fn watch_all(&self, statuses: &[InstanceStatus]) {
        for status in statuses {
            if let Some(pid) = identity::pid_of(&status.id).filter(|_| status.is_there()) {
                self.watch.until_end(&status.name, pid);
            }
        }
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn prepare(&self, workload: &Workload, _: ProgressSink) -> Result<String, RuntimeError> {
        let Workload::Process(process) = workload.clone() else {
            let why = "a container cannot run as a process".to_owned();
            return Err(RuntimeError::Failed { doing: "preparing".to_owned(), why });
        };
        self.folders.blocking(move |folders| program::keep(folders, &process)).await
    }

    async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError> {
        let Workload::Process(process) = workload.clone() else { return Ok(None) };
        self.folders.blocking(move |_| Ok(program::checksum(&process))).await
    }

    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError> {
        let plan = plan.clone();
        let Workload::Process(process) = plan.service.workload.clone() else {
            return Err(RuntimeError::Start { name: plan.name, why: "it is not a process".to_owned() });
        };
        let folder = {
            let _one_at_a_time = self.choosing_port.lock().await;
            let work = move |folders: &Folders| {
                let folder = folders.of(&plan.name);
                if folder.is_dir() && folders.state(&plan.name)?.is_none() {
                    // A server or shim was killed during an earlier start, which may still be running.
                    stop::end_unrecorded(folders, &folder, &plan.name)?;
                }
                start::plan(folders, &plan, &process)
            };
            self.folders.blocking(work).await?
        };
        if let Some(folder) = folder {
            start::run(&self.shim, &folder).await?;
        }
        // Listing adds the instance to the watched ones, so that its end is noticed.
        self.list_all().await.map(drop)
    }

    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError> {
        let key = key.clone();
        let statuses = self.folders.blocking(move |folders| folders.statuses(Some(&key))).await?;
        self.watch_all(&statuses);
        Ok(statuses)
    }

    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError> {
        let statuses = self.folders.blocking(|folders| folders.statuses(None)).await?;
        self.watch_all(&statuses);
        Ok(statuses)
    }

    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
        self.thaw(name).await?;
        stop::stop(&self.folders, name, grace).await?;
        self.watch.happened(name, "stop");
        Ok(())
    }

    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let of = name.clone();
        self.folders.blocking(move |folders| freeze::freeze(folders, &of)).await?;
        self.watch.happened(name, "freeze");
        Ok(())
    }

    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let of = name.clone();
        self.folders.blocking(move |folders| freeze::thaw(folders, &of)).await?;
        self.watch.happened(name, "thaw");
        Ok(())
    }

    async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError> {
        let (key, kept) = (key.clone(), kept.clone());
        self.folders.blocking(move |folders| program::keep_only(folders, &key, &kept)).await
    }

    async fn set_restart(&self, name: &InstanceName, starts_at_boot: bool) -> Result<(), RuntimeError> {
        // After a reboot nothing runs, and the server starts the live instances: nothing needs to be arranged here.
        let (name, text) = (name.clone(), starts_at_boot.to_string());
        self.folders.blocking(move |folders| folders.note_restart(&name, &text)).await
    }

    async fn logs(
        &self,
        name: &InstanceName,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        logs::logs(self.folders.of(name), query).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        Ok(self.watch.events())
    }

    async fn listening_ports(&self, name: &InstanceName) -> Vec<u16> {
        let name = name.clone();
        let ports = self.folders.blocking(move |folders| {
            let tree = folders.state(&name)?.and_then(|state| state.tree().ok());
            Ok(port::ports_of(&tree.unwrap_or_default()))
        });
        ports.await.unwrap_or_default()
    }

    async fn check(&self) -> Result<String, RuntimeError> {
        Ok(format!("processes of this host; {}", cgroup::describe()))
    }
}

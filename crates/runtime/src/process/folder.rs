//! The files of each instance: `plan.json` (the planned process), `state.json` (the running process), `exit.json` (how
//! it ended), `log.*` (its output). A file is written under another name, synced and renamed, so it is complete or
//! absent.

use super::state::{State, is_frozen};
use crate::{Exit, InstancePlan, InstanceState, InstanceStatus, RuntimeError, proc};
use gapless_core::spec::{LogRotation, Resources};
use gapless_core::{AppKey, InstanceName, PlacementId};
use gapless_effect::{Point, step};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a shim may take to record the exit of its process.
const NOTE_DEADLINE: Duration = Duration::from_secs(2);
const NOTE_POLL: Duration = Duration::from_millis(1);

/// The planned process: everything that a shim needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub name: InstanceName,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    pub user: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub resources: Resources,
    pub log: LogRotation,
    pub port: u16,
}

/// The folders of all instances.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    root: PathBuf,
}

impl Folders {
    pub(crate) fn new(root: PathBuf) -> Result<Self, RuntimeError> {
        let folders = Folders { root };
        folders.make().map_err(|error| failed(&folders.root, &error))?;
        Ok(folders)
    }

    /// Creates the folders durably: a synced file is lost if the folder's own name was not synced.
    fn make(&self) -> io::Result<()> {
        for folder in [self.instances(), self.releases(), self.kept(), self.reservations()] {
            fs::create_dir_all(folder)?;
        }
        for made in [Some(self.root.as_path()), self.root.parent()].into_iter().flatten() {
            File::open(made)?.sync_all()?;
        }
        Ok(())
    }

    /// Runs `work`, which reads and writes files, outside of the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folders) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let folders = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&folders)).await;
        done.unwrap_or_else(|error| {
            Err(RuntimeError::Failed { doing: "working on files".to_owned(), why: error.to_string() })
        })
    }

    fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// The folder of the programs of releases.
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// The folder of the files that list the programs needed by each application's releases.
    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    /// The folder of an instance.
    pub(crate) fn of(&self, name: &InstanceName) -> PathBuf {
        self.instances().join(name.to_string())
    }

    /// The file of an instance's plan.
    pub(crate) fn plan(&self, name: &InstanceName) -> PathBuf {
        self.of(name).join("plan.json")
    }

    /// The current or last state of an instance.
    pub(crate) fn state(&self, name: &InstanceName) -> Result<Option<State>, RuntimeError> {
        read(&self.of(name).join("state.json"))
    }

    /// All ports that are assigned or reserved.
    pub(crate) fn ports(&self) -> Result<Vec<(InstanceName, u16)>, RuntimeError> {
        let mut ports = Vec::new();
        for name in self.names()? {
            ports.extend(read::<Plan>(&self.plan(&name))?.map(|plan| (plan.name, plan.port)));
        }
        for entry in fs::read_dir(self.reservations()).map_err(|error| failed(&self.root, &error))?.flatten() {
            ports.extend(read::<BTreeMap<InstanceName, u16>>(&entry.path())?.into_iter().flatten());
        }
        Ok(ports)
    }

    /// The reserved ports of the instances of a placement with several services.
    pub(crate) fn reserved(&self, placement: &PlacementId) -> Result<BTreeMap<InstanceName, u16>, RuntimeError> {
        Ok(read(&self.reservation(placement))?.unwrap_or_default())
    }

    /// Records the ports of the instances of a placement.
    pub(crate) fn reserve(
        &self,
        placement: &PlacementId,
        ports: &BTreeMap<InstanceName, u16>,
    ) -> Result<(), RuntimeError> {
        let file = self.reservation(placement);
        write(&file, ports).map_err(|error| failed(&file, &error))
    }

    /// Releases the ports of a placement, unless one of its instances still exists.
    pub(crate) fn release(&self, placement: &PlacementId) -> Result<(), RuntimeError> {
        if self.names()?.iter().any(|name| name.placement == *placement) {
            return Ok(());
        }
        removed(fs::remove_file(self.reservation(placement))).map_err(|error| failed(&self.root, &error))
    }

    fn reservations(&self) -> PathBuf {
        self.root.join("ports")
    }

    fn reservation(&self, placement: &PlacementId) -> PathBuf {
        let PlacementId { key, slot, deployment } = placement;
        self.reservations().join(format!("{}.{}.{slot}.{deployment}.json", key.app, key.env))
    }

    pub(crate) fn note_restart(&self, name: &InstanceName, text: &str) -> Result<(), RuntimeError> {
        let folder = self.of(name);
        if !folder.exists() {
            return Ok(());
        }
        step(Point::ProcessRestart, || fs::write(folder.join("restart"), text)).map_err(|error| failed(&folder, &error))
    }

    /// All instances, or those of one application, sorted by name.
    pub(crate) fn statuses(&self, key: Option<&AppKey>) -> Result<Vec<InstanceStatus>, RuntimeError> {
        let mut names = self.names()?;
        names.retain(|name| key.is_none_or(|key| name.placement.key == *key));
        names.sort();
        names.into_iter().filter_map(|name| self.status(name).transpose()).collect()
    }

    pub(crate) fn status(&self, name: InstanceName) -> Result<Option<InstanceStatus>, RuntimeError> {
        let folder = self.of(&name);
        // The server was killed while it planned or removed this instance: list it, so that it gets removed.
        let (Some(plan), Some(state)) = (read::<Plan>(&self.plan(&name))?, self.state(&name)?) else {
            let created = InstanceStatus { name, id: "none".to_owned(), state: InstanceState::Created, restarts: 0 };
            return Ok(folder.is_dir().then_some(created));
        };
        let id = state.main.to_string();
        let instance_state = match exit(&folder, &state)? {
            Some(exit) => InstanceState::Exited(exit),
            None if is_frozen(&folder) => InstanceState::Frozen { since: state.since },
            None => InstanceState::Running {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port)),
                since: state.since,
            },
        };
        Ok(Some(InstanceStatus { name, id, state: instance_state, restarts: 0 }))
    }

    /// The names of all instances that have a folder.
    pub(crate) fn names(&self) -> Result<Vec<InstanceName>, RuntimeError> {
        let entries = fs::read_dir(self.instances()).map_err(|error| failed(&self.root, &error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }
}

impl Plan {
    pub(crate) fn new(
        plan: &InstancePlan,
        program: PathBuf,
        arguments: &[String],
        directory: &str,
        user: Option<String>,
        port: u16,
        peers: Vec<(String, String)>,
    ) -> Self {
        let own = crate::instance::variables(plan, port).into_iter().chain(peers);
        Plan {
            name: plan.name.clone(),
            program,
            arguments: arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())).collect(),
            directory: directory.into(),
            user,
            variables: plan.service.variables.clone().into_iter().chain(own).collect(),
            resources: plan.service.resources.clone(),
            log: plan.service.log.clone(),
            port,
        }
    }
}

/// How the instance ended, if it has. Waits for the shim, which records the exit a moment after the end.
fn exit(folder: &Path, state: &State) -> Result<Option<Exit>, RuntimeError> {
    let unknown = |error: io::Error| inspection_failed(folder, &error);
    let give_up_at = Instant::now() + NOTE_DEADLINE;
    loop {
        let is_alive = state.main.is_alive().map_err(unknown)?;
        let is_over = state.shim.has_ended() || Instant::now() >= give_up_at;
        // Read after the check above: an exit recorded in between must not be missed.
        match read(&folder.join("exit.json"))? {
            Some(exit) => return Ok(Some(exit)),
            None if is_alive => return Ok(None),
            // The shim was killed too, before it could record the exit.
            None if is_over => return Ok(Some(Exit { code: None, out_of_memory: false, at: state.since })),
            None => std::thread::sleep(NOTE_POLL),
        }
    }
}

/// Reads a file; `None` if it is missing or incomplete.
///
/// # Errors
/// If this process lacks a resource such as file descriptors: the content is then unknown.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RuntimeError> {
    match fs::read(path) {
        Err(error) if proc::is_shortage(&error) => Err(inspection_failed(path, &error)),
        read => Ok(read.ok().and_then(|text| serde_json::from_slice(&text).ok())),
    }
}

/// The error for a failed inspection.
pub(super) fn inspection_failed(what: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed { doing: format!("inspecting {}", what.display()), why: error.to_string() }
}

/// Writes a file durably: under another name, synced, renamed, and its folder synced.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("new");
    let value = serde_json::to_vec(value)?;
    let mut file = step(Point::ProcessCreate, || File::create(&beside))?;
    step(Point::ProcessWrite, || file.write_all(&value))?;
    step(Point::ProcessSync, || file.sync_all())?;
    step(Point::ProcessRename, || fs::rename(&beside, path))?;
    match path.parent() {
        Some(folder) => step(Point::ProcessSyncFolder, || File::open(folder)?.sync_all()),
        None => Ok(()),
    }
}

/// Treats the removal of a missing file as a success.
pub(crate) fn removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The error for a failed write.
pub(crate) fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    let doing = format!("writing below {}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull => RuntimeError::DiskFull { doing },
        _ => RuntimeError::Failed { doing, why: error.to_string() },
    }
}

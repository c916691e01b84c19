//! What is on disk of each instance: `plan.json`, what is to run; `state.json`, what runs; `exit.json`, how it ended;
//! `log.*`, what it wrote. A file is written beside, synced and renamed: it is there whole or not at all.

use super::{freeze, identity};
use crate::{Exit, InstancePlan, InstanceState, InstanceStatus, RuntimeError, proc};
use gapless_core::spec::{LogRotation, Resources};
use gapless_core::{AppKey, InstanceName, PlacementId, Timestamp};
use gapless_effect::{Point, step};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a shim may take to note how its process ended.
const NOTE_DEADLINE: Duration = Duration::from_secs(2);
const NOTE_POLL: Duration = Duration::from_millis(1);

/// What is to run: all that a shim needs to know.
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

/// What runs: two processes, each by its number and the instant at which it began, so that a number that was given to
/// another process since is never taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub shim: identity::Identity,
    pub main: identity::Identity,
    pub since: Timestamp,
    pub cgroup: Option<PathBuf>,
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

    /// Makes them so that they survive: what is synced in a folder is lost with the folder's own name.
    fn make(&self) -> io::Result<()> {
        for folder in [self.instances(), self.releases(), self.kept(), self.reservations()] {
            fs::create_dir_all(folder)?;
        }
        for made in [Some(self.root.as_path()), self.root.parent()].into_iter().flatten() {
            File::open(made)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads and writes files off the async threads.
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

    /// Where the programs of releases are kept.
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Which releases of which application need which program.
    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    /// The folder of an instance.
    pub(crate) fn of(&self, name: &InstanceName) -> PathBuf {
        self.instances().join(name.to_string())
    }

    /// The file of what is to run of an instance.
    pub(crate) fn plan(&self, name: &InstanceName) -> PathBuf {
        self.of(name).join("plan.json")
    }

    /// What runs of an instance, or last ran.
    pub(crate) fn state(&self, name: &InstanceName) -> Result<Option<State>, RuntimeError> {
        read(&self.of(name).join("state.json"))
    }

    /// The ports that instances were given.
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

    /// The ports of the instances of a placement of several services, as far as they are chosen.
    pub(crate) fn reserved(&self, placement: &PlacementId) -> Result<BTreeMap<InstanceName, u16>, RuntimeError> {
        Ok(read(&self.reservation(placement))?.unwrap_or_default())
    }

    /// Notes the ports of the instances of a placement.
    pub(crate) fn reserve(
        &self,
        placement: &PlacementId,
        ports: &BTreeMap<InstanceName, u16>,
    ) -> Result<(), RuntimeError> {
        let file = self.reservation(placement);
        write(&file, ports).map_err(|error| failed(&file, &error))
    }

    /// Gives the ports of a placement free, unless there is an instance of it still.
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
        // One without a plan was just being planned or removed when the server was killed: it is there to be removed.
        let (Some(plan), Some(state)) = (read::<Plan>(&self.plan(&name))?, self.state(&name)?) else {
            let created = InstanceStatus { name, id: "none".to_owned(), state: InstanceState::Created, restarts: 0 };
            return Ok(folder.is_dir().then_some(created));
        };
        let id = state.main.to_string();
        let instance_state = match exit(&folder, &state)? {
            Some(exit) => InstanceState::Exited(exit),
            None if freeze::is_frozen(&folder) => InstanceState::Frozen { since: state.since },
            None => InstanceState::Running {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port)),
                since: state.since,
            },
        };
        Ok(Some(InstanceStatus { name, id, state: instance_state, restarts: 0 }))
    }

    /// All instances that there is a folder of.
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

/// How the instance ended, if it did. The shim notes that a moment after the end, and is waited for.
fn exit(folder: &Path, state: &State) -> Result<Option<Exit>, RuntimeError> {
    let unknown = |error: io::Error| unseen(folder, &error);
    let give_up_at = Instant::now() + NOTE_DEADLINE;
    loop {
        let is_alive = state.main.is_alive().map_err(unknown)?;
        let is_over = state.shim.has_ended() || Instant::now() >= give_up_at;
        // Read after that was seen: what is noted in between must not be missed.
        match read(&folder.join("exit.json"))? {
            Some(exit) => return Ok(Some(exit)),
            None if is_alive => return Ok(None),
            // The shim was killed, too, before it could note the end.
            None if is_over => return Ok(Some(Exit { code: None, out_of_memory: false, at: state.since })),
            None => std::thread::sleep(NOTE_POLL),
        }
    }
}

/// Reads a file; nothing where it is missing or not whole.
///
/// # Errors
/// If this process is short of something: what the file says is not known then.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RuntimeError> {
    match fs::read(path) {
        Err(error) if proc::is_shortage(&error) => Err(unseen(path, &error)),
        read => Ok(read.ok().and_then(|text| serde_json::from_slice(&text).ok())),
    }
}

/// That something could not be looked at, in words.
pub(super) fn unseen(what: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed { doing: format!("looking at {}", what.display()), why: error.to_string() }
}

/// Writes a file so that it survives: beside, synced, renamed, and the folder synced.
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

/// What came of removing something that need not be there.
pub(crate) fn removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What could not be done with a file, in words.
pub(crate) fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    let doing = format!("writing below {}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull => RuntimeError::DiskFull { doing },
        _ => RuntimeError::Failed { doing, why: error.to_string() },
    }
}

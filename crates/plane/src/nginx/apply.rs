//! Applies a table to nginx: tests each changed application's file alone, then all files together, reloads nginx, and
//! waits until nginx answers with the new configuration and no worker takes requests with an old one.

use super::files::{self, Files, FilesError, GAPLESS_FILE};
use super::generate;
use super::generations::{self, Generations};
use super::location::{Location, LocationError, Running};
use super::marker::{self, Marker};
use super::master::{Master, MasterError};
use super::program;
use super::settings::NginxConfig;
use super::template::{Custom, CustomError};
use crate::plane::{ApplyReport, Rejection, Retained};
use gapless_core::{AppKey, PlacementId, RouteGroup, RouteTable};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long nginx may take from the signal until it applies the new configuration.
const RELOAD_DEADLINE: Duration = Duration::from_secs(8);
/// How long a reload waits for old workers to end while the maximum number of generations exists.
const GENERATIONS_DEADLINE: Duration = Duration::from_secs(5);
/// The interval between two checks of nginx.
const POLL_EVERY: Duration = Duration::from_millis(3);

/// The last known state of an nginx.
#[derive(Default)]
pub(super) struct NginxState {
    /// The applied table: with older routes where nginx rejected the new ones.
    pub(super) table: Option<RouteTable>,
    /// The digest of gapless's files of that table.
    pub(super) digest: Option<u64>,
    /// The workers of earlier configurations that are ending.
    pub(super) generations: Generations,
    /// The placements to which the current workers send; `None` if an earlier run of the server configured them.
    routed: Option<BTreeSet<PlacementId>>,
    /// Each application's last files that nginx accepted.
    accepted: BTreeMap<AppKey, AppFiles>,
}

#[derive(Clone)]
struct AppFiles {
    files: Files,
    /// The routes from which the files were made; `None` if an earlier run of the server made them.
    group: Option<Arc<RouteGroup>>,
}

/// Why nginx did not apply a table. It still applies the previous one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(
        "nginx's configuration has an error outside gapless's files: {why}; fix it (`nginx -t` checks it), then gapless \
         continues by itself"
    )]
    Broken { why: String },
    #[error("gapless's own server in nginx's configuration does not work: {why}; see [proxy] in server.toml")]
    Own { why: String },
    #[error(
        "nginx does not read gapless's files: add `{line}` to `http {{ }}` in {config}, once, then gapless continues by \
         itself"
    )]
    NotIncluded { line: String, config: String },
    #[error(
        "{count} generations of old nginx workers still run, the maximum (`worker_generations_max`): long requests or \
         WebSockets keep them running; set `worker_shutdown_timeout` in nginx.conf, or wait"
    )]
    Generations { count: usize },
    #[error(
        "nginx did not apply the new configuration within {} s of the reload: {why}; see nginx's error log",
        RELOAD_DEADLINE.as_secs()
    )]
    NotApplied { why: String },
}

/// The message for an nginx that does not answer at its status address.
pub(super) fn unanswered(settings: &NginxConfig, status: SocketAddr, why: &str) -> String {
    format!(
        "nginx does not report its configuration at {status} ({why}); if `{}` is missing in `http {{ }}` of {}, add it",
        settings.include_line(),
        settings.shown_config()
    )
}

/// Applies `table`, and waits until nginx routes no request by an earlier one.
pub(super) async fn apply(
    location: &Location,
    settings: &NginxConfig,
    state: &mut NginxState,
    table: &RouteTable,
) -> Result<ApplyReport, ApplyError> {
    let running = location.find(settings).await?;
    let present = files::read(&settings.config_dir)?;
    let custom = settings.template.as_deref().map(Custom::read);
    let mut rejected = BTreeMap::new();
    let mut wanted = BTreeMap::<AppKey, AppFiles>::new();
    for (key, group) in &table.groups {
        match tested(location, settings, state, &present, custom.as_ref(), (key, group)).await {
            Ok(files) => drop(wanted.insert(key.clone(), AppFiles { files, group: Some(group.clone()) })),
            Err(why) => reject(state, &present, &mut wanted, &mut rejected, key, why),
        }
    }

    let marker = marker::fetch(running.status).await;
    if marker.is_err() {
        location.forget_found();
    }
    let reloaded = loop {
        let files = all_files(&wanted);
        let digest = files::digest(&files);
        let is_as_wanted = present.iter().filter(|(name, _)| *name != GAPLESS_FILE).eq(files.iter());
        // The first apply always reloads: an earlier run of the server may have ended during a reload.
        let is_applied = state.digest == Some(digest) && marker.as_ref().is_ok_and(|marker| marker.digest == digest);
        if is_as_wanted && is_applied {
            break digest;
        }
        let mut all = files;
        all.insert(GAPLESS_FILE.to_owned(), marker::file(Marker { version: table.version, digest }, settings));
        let changed: Vec<AppKey> = changed(&present, &wanted);
        files::write(&settings.config_dir, &present, &all)?;
        if let Err(why) = program::test_all(location, settings).await {
            files::write(&settings.config_dir, &all, &present)?;
            let culprits = culprits(location, settings, &present, &wanted, &changed, why).await?;
            for (key, why) in culprits {
                wanted.remove(&key);
                reject(state, &present, &mut wanted, &mut rejected, &key, why);
            }
            continue;
        }
        if marker.is_err() && !program::includes(location, settings).await.unwrap_or(true) {
            let (line, config) = (settings.include_line(), settings.shown_config());
            return Err(ApplyError::NotIncluded { line, config });
        }
        reload(location, settings, state, running, digest).await?;
        break digest;
    };
    wait_for_old_workers(running.master, state).await?;

    let groups = wanted.iter().filter_map(|(key, app)| Some((key.clone(), app.group.clone()?))).collect();
    let effective = RouteTable { version: table.version, groups };
    let is_known = wanted.values().all(|app| app.group.is_some());
    state.routed = is_known.then(|| generations::routed(&effective, settings.template.is_some()));
    state.digest = Some(reloaded);
    state.accepted = wanted;
    state.table = Some(effective);
    Ok(ApplyReport { rejected })
}

/// The wanted files of an application, if nginx accepts them alone; otherwise the reason why not.
async fn tested(
    location: &Location,
    settings: &NginxConfig,
    state: &NginxState,
    present: &Files,
    custom: Option<&Result<Custom, CustomError>>,
    (key, group): (&AppKey, &RouteGroup),
) -> Result<Files, String> {
    let custom = custom.map(Result::as_ref).transpose().map_err(ToString::to_string)?;
    let files = match custom {
        Some(custom) => custom.application(key, group, settings).map_err(|error| error.to_string())?,
        None => generate::application(key, group, settings),
    };
    let is_there = files.iter().all(|(name, text)| present.get(name) == Some(text));
    if is_there || state.accepted.get(key).is_some_and(|app| app.files == files) {
        return Ok(files);
    }
    match program::test_alone(location, settings, &files).await {
        Ok(()) => Ok(files),
        Err(why) => Err(custom.map_or_else(|| why.clone(), |custom| custom.explain(&why, key, &files))),
    }
}

/// Rejects an application's routes, and retains its previous files.
fn reject(
    state: &NginxState,
    present: &Files,
    wanted: &mut BTreeMap<AppKey, AppFiles>,
    rejected: &mut BTreeMap<AppKey, Rejection>,
    key: &AppKey,
    why: String,
) {
    tracing::error!(application = %key, "nginx rejected the application's routes: {why}; keeping the previous routes");
    let previous = state.accepted.get(key).cloned().or_else(|| {
        let files = files::of(key, present);
        // Without this entry, nginx might send to a slot that is then stopped as unused.
        files.contains_key(&files::file_of(key)).then_some(AppFiles { files, group: None })
    });
    let retained = match &previous {
        None => Retained::Nothing,
        Some(AppFiles { group: Some(group), .. }) => Retained::Group(group.clone()),
        Some(AppFiles { group: None, .. }) => Retained::Unknown,
    };
    if let Some(previous) = previous {
        wanted.insert(key.clone(), previous);
    }
    rejected.insert(key.clone(), Rejection { why, retained });
}

fn all_files(wanted: &BTreeMap<AppKey, AppFiles>) -> Files {
    wanted.values().flat_map(|app| app.files.clone()).collect()
}

/// The applications whose wanted files differ from the files on disk.
fn changed(present: &Files, wanted: &BTreeMap<AppKey, AppFiles>) -> Vec<AppKey> {
    let is_changed = |app: &AppFiles| app.files.iter().any(|(name, text)| present.get(name) != Some(text));
    wanted.iter().filter(|(_, app)| is_changed(app)).map(|(key, _)| key.clone()).collect()
}

/// The applications whose files nginx rejects together with all other files. Leaves the files on disk as they were.
async fn culprits(
    location: &Location,
    settings: &NginxConfig,
    present: &Files,
    wanted: &BTreeMap<AppKey, AppFiles>,
    changed: &[AppKey],
    why: String,
) -> Result<Vec<(AppKey, String)>, ApplyError> {
    if let Err(why) = program::test_all(location, settings).await {
        return Err(ApplyError::Broken { why });
    }
    if changed.is_empty() {
        return Err(ApplyError::Own { why });
    }
    let mut culprits = Vec::new();
    for key in changed {
        let Some(app) = wanted.get(key) else { continue };
        let mut with = present.clone();
        with.extend(app.files.clone());
        files::write(&settings.config_dir, present, &with)?;
        let tested = program::test_all(location, settings).await;
        files::write(&settings.config_dir, &with, present)?;
        if let Err(why) = tested {
            culprits.push((key.clone(), why));
        }
    }
    if culprits.is_empty() {
        // Each application's files work alone, but not together: reject all of them.
        culprits = changed.iter().map(|key| (key.clone(), why.clone())).collect();
    }
    Ok(culprits)
}

/// Reloads nginx, and waits until it answers with the configuration of that digest.
async fn reload(
    location: &Location,
    settings: &NginxConfig,
    state: &mut NginxState,
    running: Running,
    digest: u64,
) -> Result<(), ApplyError> {
    let Running { master, status } = running;
    wait_for_generations(settings, state, master).await?;
    let before = master.workers()?;
    location.reload(master).await?;
    // From here on the workers may be replaced, whatever happens next.
    state.generations.retire(&before, state.routed.take());
    state.digest = None;
    state.table = None;
    let deadline = Instant::now() + RELOAD_DEADLINE;
    loop {
        let why = match marker::fetch(status).await {
            Ok(marker) if marker.digest == digest => return Ok(()),
            Ok(marker) => format!("it answers with the configuration of version {}", marker.version),
            Err(why) => why,
        };
        if Instant::now() >= deadline {
            return Err(ApplyError::NotApplied { why });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Waits until a reload may start. Each reload leaves a generation of workers behind; without a bound, long requests
/// would fill the host with workers.
async fn wait_for_generations(
    settings: &NginxConfig,
    state: &mut NginxState,
    master: Master,
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + GENERATIONS_DEADLINE;
    loop {
        state.generations.remove_ended(&master.workers()?);
        let count = state.generations.count();
        if count < settings.worker_generations_max {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ApplyError::Generations { count });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Waits until no worker of an earlier configuration takes requests: each is ending, or has ended.
async fn wait_for_old_workers(master: Master, state: &mut NginxState) -> Result<(), ApplyError> {
    let deadline = Instant::now() + RELOAD_DEADLINE;
    loop {
        let workers = master.workers()?;
        state.generations.remove_ended(&workers);
        let ending: Vec<_> = workers.iter().filter(|worker| worker.is_ending).copied().collect();
        if workers.iter().any(|worker| !worker.is_ending) && state.generations.are_all_in(&ending) {
            // The placements of workers that an earlier run of the server left behind are unknown.
            state.generations.retire(&ending, None);
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = "old workers still take requests".to_owned();
            return Err(ApplyError::NotApplied { why });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

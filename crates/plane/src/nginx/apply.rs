//! Brings nginx up to a table: each changed application's file is tested apart, then everything together; then nginx is
//! told to reload, and waited for until it answers by the new configuration and no worker takes requests by an old one.

use super::files::{self, Files, FilesError, GAPLESS_FILE};
use super::generate;
use super::generations::{self, Generations};
use super::master::{Master, MasterError};
use super::own::{self, Marker};
use super::place::{Place, PlaceError, Running};
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

/// How long nginx may take from the signal until it goes by the new configuration.
const RELOAD_DEADLINE: Duration = Duration::from_secs(8);
/// How long a reload waits at a time for old workers to end, where there are as many generations as may be.
const GENERATIONS_DEADLINE: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// What is known of an nginx.
#[derive(Default)]
pub(super) struct Known {
    /// The table that it goes by: with older routes for what it did not take.
    pub(super) table: Option<RouteTable>,
    /// What gapless's files held then.
    pub(super) digest: Option<u64>,
    /// Workers that are ending.
    pub(super) generations: Generations,
    /// The placements that the workers of now send to; `None` if another run of the server told them.
    routed: Option<BTreeSet<PlacementId>>,
    /// Each application's last files that nginx took.
    good: BTreeMap<AppKey, Good>,
}

#[derive(Clone)]
struct Good {
    files: Files,
    /// The routes that they were made of; `None` if another run of the server did that.
    group: Option<Arc<RouteGroup>>,
}

/// Why nginx does not go by the table. It goes by the one before.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(
        "nginx's configuration is broken, and not by gapless: {why}; mend it (`nginx -t` says whether it is), and gapless goes on by itself"
    )]
    Broken { why: String },
    #[error("gapless's own part of nginx's configuration does not work: {why}; see [proxy] in server.toml")]
    Own { why: String },
    #[error(
        "nginx does not read gapless's files: add `{line}` to `http {{ }}` in {config}, once; gapless goes on by itself"
    )]
    NotIncluded { line: String, config: String },
    #[error(
        "{count} generations of old nginx workers still live, as many as may be (`worker_generations_max`): long requests or WebSockets keep them; set `worker_shutdown_timeout` in nginx.conf, or wait"
    )]
    Generations { count: usize },
    #[error("nginx was told to reload and does not go by the new configuration within {} s: {why}; its error log says more", RELOAD_DEADLINE.as_secs())]
    NotTaken { why: String },
}

/// What to say when nobody answers at the status address.
pub(super) fn unanswered(settings: &NginxConfig, status: SocketAddr, why: &str) -> String {
    format!(
        "nginx does not answer at {status} which configuration it goes by ({why}); if `{}` is missing in `http {{ }}` of {}, add it",
        settings.include_line(),
        settings.shown_config()
    )
}

pub(super) async fn apply(
    place: &Place,
    settings: &NginxConfig,
    known: &mut Known,
    table: &RouteTable,
) -> Result<ApplyReport, ApplyError> {
    let running = place.find(settings).await?;
    let present = files::read(&settings.config_dir)?;
    let custom = settings.template.as_deref().map(Custom::read);
    let mut rejected = BTreeMap::new();
    let mut wanted = BTreeMap::<AppKey, Good>::new();
    for (key, group) in &table.groups {
        match tested(place, settings, known, &present, custom.as_ref(), (key, group)).await {
            Ok(files) => drop(wanted.insert(key.clone(), Good { files, group: Some(group.clone()) })),
            Err(why) => reject(known, &present, &mut wanted, &mut rejected, key, why),
        }
    }

    let marker = own::ask(running.status).await;
    if marker.is_err() {
        place.doubt();
    }
    let reloaded = loop {
        let files = all_files(&wanted);
        let digest = files::digest(&files);
        let is_as_wanted = present.iter().filter(|(name, _)| *name != GAPLESS_FILE).eq(files.iter());
        // The first time it is told in any case: another run of the server may have been ended within a reload.
        let is_told = known.digest == Some(digest) && marker.as_ref().is_ok_and(|marker| marker.digest == digest);
        if is_as_wanted && is_told {
            break digest;
        }
        let mut all = files;
        all.insert(GAPLESS_FILE.to_owned(), own::file(Marker { version: table.version, digest }, settings));
        let changed: Vec<AppKey> = changed(&present, &wanted);
        files::write(&settings.config_dir, &present, &all)?;
        if let Err(why) = program::test_all(place, settings).await {
            files::write(&settings.config_dir, &all, &present)?;
            let culprits = culprits(place, settings, &present, &wanted, &changed, why).await?;
            for (key, why) in culprits {
                wanted.remove(&key);
                reject(known, &present, &mut wanted, &mut rejected, &key, why);
            }
            continue;
        }
        if marker.is_err() && !program::includes(place, settings).await.unwrap_or(true) {
            let (line, config) = (settings.include_line(), settings.shown_config());
            return Err(ApplyError::NotIncluded { line, config });
        }
        reload(place, settings, known, running, digest).await?;
        break digest;
    };
    settle(running.master, known).await?;

    let groups = wanted.iter().filter_map(|(key, good)| Some((key.clone(), good.group.clone()?))).collect();
    let effective = RouteTable { version: table.version, groups };
    let is_known = wanted.values().all(|good| good.group.is_some());
    known.routed = is_known.then(|| generations::routed(&effective, settings.template.is_some()));
    known.digest = Some(reloaded);
    known.good = wanted;
    known.table = Some(effective);
    Ok(ApplyReport { rejected })
}

/// An application's files as they should be, if nginx takes them for themselves; otherwise why not.
async fn tested(
    place: &Place,
    settings: &NginxConfig,
    known: &Known,
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
    if is_there || known.good.get(key).is_some_and(|good| good.files == files) {
        return Ok(files);
    }
    match program::test_apart(place, settings, &files).await {
        Ok(()) => Ok(files),
        Err(why) => Err(custom.map_or_else(|| why.clone(), |custom| custom.explain(&why, key, &files))),
    }
}

/// Keeps what an application had before.
fn reject(
    known: &Known,
    present: &Files,
    wanted: &mut BTreeMap<AppKey, Good>,
    rejected: &mut BTreeMap<AppKey, Rejection>,
    key: &AppKey,
    why: String,
) {
    tracing::error!(application = %key, why, "nginx does not take the application's routes; it keeps those of before");
    let good = known.good.get(key).cloned().or_else(|| {
        let files = files::of(key, present);
        // It may be sending to a slot that would be stopped, if it were believed to send to none.
        files.contains_key(&files::file_of(key)).then_some(Good { files, group: None })
    });
    let retained = match &good {
        None => Retained::Nothing,
        Some(Good { group: Some(group), .. }) => Retained::Group(group.clone()),
        Some(Good { group: None, .. }) => Retained::Unknown,
    };
    if let Some(good) = good {
        wanted.insert(key.clone(), good);
    }
    rejected.insert(key.clone(), Rejection { why, retained });
}

fn all_files(wanted: &BTreeMap<AppKey, Good>) -> Files {
    wanted.values().flat_map(|good| good.files.clone()).collect()
}

/// The applications whose files are not as they are on disk.
fn changed(present: &Files, wanted: &BTreeMap<AppKey, Good>) -> Vec<AppKey> {
    let is_changed = |good: &Good| good.files.iter().any(|(name, text)| present.get(name) != Some(text));
    wanted.iter().filter(|(_, good)| is_changed(good)).map(|(key, _)| key.clone()).collect()
}

/// Whose files nginx does not take together with all the others. The files on disk are as before, and stay so.
async fn culprits(
    place: &Place,
    settings: &NginxConfig,
    present: &Files,
    wanted: &BTreeMap<AppKey, Good>,
    changed: &[AppKey],
    why: String,
) -> Result<Vec<(AppKey, String)>, ApplyError> {
    if let Err(why) = program::test_all(place, settings).await {
        return Err(ApplyError::Broken { why });
    }
    if changed.is_empty() {
        return Err(ApplyError::Own { why });
    }
    let mut culprits = Vec::new();
    for key in changed {
        let Some(good) = wanted.get(key) else { continue };
        let mut with = present.clone();
        with.extend(good.files.clone());
        files::write(&settings.config_dir, present, &with)?;
        let tested = program::test_all(place, settings).await;
        files::write(&settings.config_dir, &with, present)?;
        if let Err(why) = tested {
            culprits.push((key.clone(), why));
        }
    }
    if culprits.is_empty() {
        // Each works for itself, and not together: none is taken.
        culprits = changed.iter().map(|key| (key.clone(), why.clone())).collect();
    }
    Ok(culprits)
}

/// Tells nginx, and waits until it answers by the configuration with that digest.
async fn reload(
    place: &Place,
    settings: &NginxConfig,
    known: &mut Known,
    running: Running,
    digest: u64,
) -> Result<(), ApplyError> {
    let Running { master, status } = running;
    wait_for_generations(settings, known, master).await?;
    let before = master.workers()?;
    place.reload(master).await?;
    // From here on they may be replaced, whatever else comes.
    known.generations.replaced(&before, known.routed.take());
    known.digest = None;
    known.table = None;
    let deadline = Instant::now() + RELOAD_DEADLINE;
    loop {
        let why = match own::ask(status).await {
            Ok(marker) if marker.digest == digest => return Ok(()),
            Ok(marker) => format!("it answers by the one of version {}", marker.version),
            Err(why) => why,
        };
        if Instant::now() >= deadline {
            return Err(ApplyError::NotTaken { why });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Each reload leaves a generation of workers behind. Without a bound, long requests would fill the host with them.
async fn wait_for_generations(settings: &NginxConfig, known: &mut Known, master: Master) -> Result<(), ApplyError> {
    let deadline = Instant::now() + GENERATIONS_DEADLINE;
    loop {
        known.generations.look(&master.workers()?);
        let count = known.generations.count();
        if count < settings.worker_generations_max {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ApplyError::Generations { count });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no worker of an earlier configuration takes requests: each is ending, or gone.
async fn settle(master: Master, known: &mut Known) -> Result<(), ApplyError> {
    let deadline = Instant::now() + RELOAD_DEADLINE;
    loop {
        let seen = master.workers()?;
        known.generations.look(&seen);
        let ending: Vec<_> = seen.iter().filter(|seen| seen.is_ending).copied().collect();
        if seen.iter().any(|seen| !seen.is_ending) && known.generations.all_in(&ending) {
            // Of those that another run of the server left behind it is not known what they knew.
            known.generations.replaced(&ending, None);
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = "old workers still take requests".to_owned();
            return Err(ApplyError::NotTaken { why });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

//! Once, again and again, or whenever something changes.

use crate::backend::{Backend, BackendError, Change, Watch, concerns};
use crate::error::RenderError;
use crate::render::{self, Outcome, Rules};
use crate::resource::{self, Resource};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How soon what failed is tried again while keys are watched, at first and at most: a resource, and the watch itself.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Where the resources are, and what holds for them.
#[derive(Debug, Clone)]
pub struct Job {
    /// confd's folder, with `conf.d` and `templates` in it.
    pub confdir: std::path::PathBuf,
    /// What all keys begin with; empty: each resource says it.
    pub prefix: String,
    /// What holds for all resources.
    pub rules: Rules,
}

/// How a pass over all resources went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many files were replaced, or would be.
    pub updated: usize,
    /// How many were as they should be.
    pub unchanged: usize,
    /// How many resources failed; each was reported.
    pub failed: usize,
}

/// Renders all resources, one after the other. One that fails is reported, and leaves the others alone.
///
/// # Errors
/// If there is no folder that could be read.
pub async fn once(job: &Job, backend: &Backend) -> Result<Tally, RenderError> {
    let mut tally = Tally::default();
    for resource in resources(&job.confdir, &job.prefix, &mut tally)? {
        match render::render(&Arc::new(resource), backend, &job.rules, false).await {
            Ok(Outcome::Unchanged) => tally.unchanged += 1,
            Ok(Outcome::Updated | Outcome::WouldUpdate) => tally.updated += 1,
            Err(error) => {
                tally.failed += 1;
                tracing::error!("{error}");
            }
        }
    }
    Ok(tally)
}

/// Renders all resources every `interval`, until it is dropped. The resources are read anew each time.
pub async fn at_intervals(job: &Job, backend: &Backend, interval: Duration) {
    loop {
        if let Err(error) = once(job, backend).await {
            tracing::error!("{error}");
        }
        tokio::time::sleep(interval).await;
    }
}

/// Renders each resource when one of its keys changes, until it is dropped; and each `interval` in any case, since a
/// watch is a hint and reading is the truth. One that failed is tried again by itself.
///
/// # Errors
/// If the resources cannot be read.
pub async fn watching(job: &Job, backend: &Backend, interval: Duration) -> Result<(), RenderError> {
    let resources = resources(&job.confdir, &job.prefix, &mut Tally::default())?;
    let mut keys: Vec<String> = Vec::new();
    let mut watched: Vec<(Arc<Resource>, Arc<Notify>)> = Vec::new();
    let mut workers = JoinSet::new();
    for resource in resources {
        keys.extend(resource.keys.iter().cloned());
        let (resource, changed) = (Arc::new(resource), Arc::new(Notify::new()));
        watched.push((Arc::clone(&resource), Arc::clone(&changed)));
        // Each has a worker of its own, so that a slow reload keeps no other resource waiting. What changes meanwhile
        // is one more turn, however much it is.
        workers.spawn(keep(resource, changed, backend.clone(), job.rules.clone(), interval));
    }
    let mut pause = RETRY.0;
    let mut reported = String::new();
    loop {
        match backend.watch(&keys).await {
            Ok(watch) => {
                pause = RETRY.0;
                reported.clear();
                // What changed before the watch began was not told.
                watched.iter().for_each(|(_, changed)| changed.notify_one());
                let error = follow(watch, &watched).await;
                tracing::warn!("{error}; the watch begins anew");
            }
            Err(error) => report(&mut reported, error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Wakes the workers of what changes, until the watch ends.
async fn follow(mut watch: Watch, watched: &[(Arc<Resource>, Arc<Notify>)]) -> BackendError {
    loop {
        match watch.next().await {
            Ok(change) => {
                for (resource, changed) in watched {
                    let concerned = match &change {
                        Change::Anything => true,
                        Change::Keys(keys) => {
                            keys.iter().any(|key| resource.keys.iter().any(|prefix| concerns(key, prefix)))
                        }
                    };
                    if concerned {
                        changed.notify_one();
                    }
                }
            }
            Err(error) => return error,
        }
    }
}

/// Keeps one resource up to date.
async fn keep(resource: Arc<Resource>, changed: Arc<Notify>, backend: Backend, rules: Rules, interval: Duration) {
    let mut retry: Option<Duration> = None;
    let mut reload_is_due = false;
    let mut reported = String::new();
    loop {
        // The first turn comes when the watch has begun, or when that takes too long.
        let pause = retry.unwrap_or(interval);
        let _ = tokio::time::timeout_at(Instant::now() + pause, changed.notified()).await;
        match render::render(&resource, &backend, &rules, reload_is_due).await {
            Ok(_) => {
                if retry.take().is_some() {
                    tracing::info!("{} works again", resource.file.display());
                }
                reload_is_due = false;
                reported.clear();
            }
            Err(error) => {
                reload_is_due |= matches!(error, RenderError::Reload { .. });
                retry = Some(retry.map_or(RETRY.0, |before| (before * 2).min(RETRY.1)));
                report(&mut reported, error.to_string());
            }
        }
    }
}

/// Reports what is wrong; the same again is no news.
fn report(reported: &mut String, error: String) {
    if error != *reported {
        tracing::error!("{error}");
        *reported = error;
    }
}

fn resources(confdir: &Path, prefix: &str, tally: &mut Tally) -> Result<Vec<Resource>, RenderError> {
    let (resources, wrong) = resource::all(confdir, prefix)?;
    for error in wrong {
        tally.failed += 1;
        tracing::error!("{error}");
    }
    Ok(resources)
}

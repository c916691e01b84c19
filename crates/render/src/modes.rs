//! Modes of rendering: once, at intervals, or on changes.

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

/// The first and the longest delay before a failed resource or watch is retried.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The resources, and their common settings.
#[derive(Debug, Clone)]
pub struct Job {
    /// confd's folder, which contains `conf.d` and `templates`.
    pub confdir: std::path::PathBuf,
    /// The prefix of all keys; if empty, each resource has its own.
    pub prefix: String,
    /// The settings for all resources.
    pub rules: Rules,
}

/// The result of a pass over all resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many files were replaced, or would be with `-noop`.
    pub updated: usize,
    /// How many files were up to date.
    pub unchanged: usize,
    /// How many resources failed; each was reported.
    pub failed: usize,
}

/// Renders all resources, one after the other. A failed resource is reported and does not affect the others.
///
/// # Errors
/// If the folder of resources cannot be read.
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

/// Renders all resources at every `interval`, until the future is dropped. Reads the resources again each time.
pub async fn at_intervals(job: &Job, backend: &Backend, interval: Duration) {
    loop {
        if let Err(error) = once(job, backend).await {
            tracing::error!("{error}");
        }
        tokio::time::sleep(interval).await;
    }
}

/// Renders each resource when one of its keys changes, until the future is dropped; and at every `interval`, since a
/// watch is a hint and only a read is authoritative. Retries a failed resource automatically.
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
        // Each resource has its own worker, so that a slow reload does not delay other resources. All changes during a
        // pass lead to one further pass.
        workers.spawn(maintain(resource, changed, backend.clone(), job.rules.clone(), interval));
    }
    let mut pause = RETRY.0;
    let mut reported = String::new();
    loop {
        match backend.watch(&keys).await {
            Ok(watch) => {
                pause = RETRY.0;
                reported.clear();
                // Changes before the watch started were not reported.
                watched.iter().for_each(|(_, changed)| changed.notify_one());
                let error = follow(watch, &watched).await;
                tracing::warn!("watch failed: {error}; restarting it");
            }
            Err(error) => report(&mut reported, error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Wakes the workers of changed resources, until the watch ends.
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

/// Keeps a resource up to date.
async fn maintain(resource: Arc<Resource>, changed: Arc<Notify>, backend: Backend, rules: Rules, interval: Duration) {
    let mut retry: Option<Duration> = None;
    let mut reload_is_due = false;
    let mut reported = String::new();
    loop {
        // The first pass comes when the watch has started, or when that takes too long.
        let pause = retry.unwrap_or(interval);
        let _ = tokio::time::timeout_at(Instant::now() + pause, changed.notified()).await;
        match render::render(&resource, &backend, &rules, reload_is_due).await {
            Ok(_) => {
                if retry.take().is_some() {
                    tracing::info!("{} recovered", resource.file.display());
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

/// Logs an error, unless it is the same as the last.
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

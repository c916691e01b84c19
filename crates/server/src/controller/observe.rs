//! Observes the world for one application: its instances, their health, and the reports of the data planes.

use super::effects::Effects;
use super::event::Event;
use super::probes::Probes;
use super::shared::{RECHECK_AFTER, Shared};
use crate::records::Loaded;
use futures_util::StreamExt;
use gapless_core::facts::{InstanceFact, InstanceSeen};
use gapless_core::planted;
use gapless_core::{AppKey, Facts, InstanceName, Millis, Timestamp};
use gapless_runtime::{Exit, InstanceState, InstanceStatus, LogQuery, Runtime, RuntimeError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// The number of last output lines in the report of an exit.
const EXIT_LINES: usize = 20;
/// The deadline for reading the last lines.
const EXIT_LINES_DEADLINE: Duration = Duration::from_secs(2);
/// The wait before a runtime that did not answer is asked again.
const RUNTIME_RETRY_AFTER: Millis = Millis(500);
/// The wait before the second restart of an instance that keeps exiting; each further wait is twice as long.
const BACKOFF_FIRST: Millis = Millis(1_000);
const BACKOFF_MAX: Millis = Millis(60_000);
/// An instance that ran this long no longer counts as one that keeps exiting.
const STABLE_AFTER: Millis = Millis(60_000);

pub(super) struct Observer {
    key: AppKey,
    /// The last listing of the runtimes; `None` if a runtime did not answer.
    listed: Option<Vec<InstanceStatus>>,
    /// The runtimes that instances of the application may be in: a start may have been in progress when the record
    /// dropped its instance.
    used_runtimes: BTreeSet<&'static str>,
    /// The error of the last attempt to list the instances, if it failed.
    list_error: Option<String>,
    is_stale: bool,
    listed_at: Timestamp,
    retry_at: Option<Timestamp>,
    exits: BTreeMap<InstanceName, ExitReport>,
    start_errors: BTreeMap<InstanceName, String>,
    backoffs: BTreeMap<InstanceName, Backoff>,
    /// The runs at the last listing.
    runs: BTreeMap<InstanceName, String>,
    /// True if a runtime was unavailable since that listing.
    was_away: bool,
    /// Runs that ended while their runtime was unavailable, until other runs have taken their places.
    interrupted: BTreeMap<InstanceName, String>,
}

/// The report of a run's exit, made once.
struct ExitReport {
    run: String,
    text: String,
}

#[derive(Default)]
struct Backoff {
    /// The run whose exit was counted last.
    run: String,
    exits: u32,
    restart_at: Timestamp,
}

impl Observer {
    pub(super) fn new(key: AppKey) -> Self {
        Observer {
            key,
            listed: None,
            used_runtimes: BTreeSet::new(),
            list_error: None,
            is_stale: true,
            listed_at: Timestamp::default(),
            retry_at: None,
            exits: BTreeMap::new(),
            start_errors: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            runs: BTreeMap::new(),
            was_away: false,
            interrupted: BTreeMap::new(),
        }
    }

    /// Makes the next turn list the instances again.
    pub(super) const fn relist(&mut self) {
        self.is_stale = true;
    }

    /// The time at which a runtime that did not answer must be asked again.
    pub(super) const fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// The address and run of an instance, if the last listing shows it running.
    pub(super) fn running(&self, name: &InstanceName) -> Option<(SocketAddr, String)> {
        let status = self.listed.as_ref()?.iter().find(|status| status.name == *name)?;
        match status.state {
            InstanceState::Running { address, .. } => Some((address, run_of(status))),
            InstanceState::Created | InstanceState::Frozen { .. } | InstanceState::Exited(_) => None,
        }
    }

    /// Records the outcome of a start.
    pub(super) fn record(&mut self, event: &Event, now: Timestamp) {
        let Event::Started { name, result } = event else { return };
        match result {
            Ok(()) => drop(self.start_errors.remove(name)),
            Err(error) => {
                tracing::warn!(instance = %name, "instance did not start: {error}");
                if !error.is_transient() {
                    self.start_errors.insert(name.clone(), error.to_string());
                }
                let backoff = self.backoffs.entry(name.clone()).or_default();
                backoff.exits = backoff.exits.saturating_add(1).max(2);
                backoff.restart_at = now.after(backoff_after(backoff.exits));
            }
        }
    }

    /// The current facts.
    pub(super) async fn facts(
        &mut self,
        loaded: &Loaded,
        shared: &Shared,
        probes: &Probes,
        effects: &Effects,
    ) -> Facts {
        let now = shared.clock.now();
        let is_due = self.retry_at.is_some_and(|at| now >= at) || now.since(self.listed_at) >= RECHECK_AFTER;
        if self.is_stale || is_due {
            self.list(loaded, shared).await;
        }
        let now = shared.clock.now();
        let listed = self.listed.clone();
        let instances = listed.map(|listed| {
            let facts = listed.iter().map(|status| (status.name.clone(), self.fact(status, now, probes)));
            let mut facts: BTreeMap<_, _> = facts.collect();
            // An instance that is being stopped runs a little longer, but counts as unusable.
            for (_, fact) in facts.iter_mut().filter(|(name, _)| effects.is_stopping(name)) {
                if matches!(fact.state, InstanceSeen::Running { .. }) {
                    fact.state = InstanceSeen::Created;
                }
            }
            // An instance that is being frozen is about to stop answering: a rollback must thaw it first.
            for (_, fact) in facts.iter_mut().filter(|(name, _)| effects.is_freezing(name)) {
                if let InstanceSeen::Running { run, .. } = &fact.state {
                    fact.state = InstanceSeen::Frozen { run: run.clone() };
                }
            }
            self.add_missing(loaded, effects, &mut facts);
            self.mark_interrupted(loaded, &mut facts);
            facts
        });
        Facts {
            now,
            gates: loaded
                .state
                .deployment
                .as_ref()
                .map(|deployment| effects.gate_outcomes(deployment.number))
                .unwrap_or_default(),
            server: shared.run.clone(),
            hooks: loaded
                .state
                .deployment
                .as_ref()
                .map(|deployment| effects.hook_outcomes(deployment.number))
                .unwrap_or_default(),
            prepared: loaded.state.deployment.as_ref().and_then(|deployment| effects.prepared(deployment.number)),
            instances,
            planes: shared.planes.facts(&self.key),
            traffic: shared.planes.traffic(&self.key),
            held: shared.planes.held(&self.key),
            judged: None,
            cutover_us: None,
        }
    }

    async fn list(&mut self, loaded: &Loaded, shared: &Shared) {
        // Set before the calls: a change during the calls makes the next turn list again.
        self.is_stale = false;
        self.listed_at = shared.clock.now();
        self.retry_at = None;
        let mut listed = Vec::new();
        self.used_runtimes.extend(runtime_names(loaded));
        let used = shared.runtimes.all().filter(|(name, _)| self.used_runtimes.contains(name));
        for (_, runtime) in used {
            let asked = match planted::stops_strangers() {
                true => runtime.list_all().await,
                false => runtime.list(&self.key).await,
            };
            match asked {
                Ok(statuses) => listed.extend(statuses),
                Err(error) => {
                    let why = error.to_string();
                    // Each reason is logged once, however long it lasts.
                    if self.list_error.as_ref() != Some(&why) {
                        tracing::warn!(application = %self.key, "instances cannot be listed: {error}; retrying");
                        self.list_error = Some(why);
                    }
                    self.listed = None;
                    self.was_away |= matches!(error, RuntimeError::Unavailable { .. });
                    self.retry_at = Some(shared.clock.now().after(RUNTIME_RETRY_AFTER));
                    return;
                }
            }
        }
        if self.list_error.take().is_some() {
            tracing::info!(application = %self.key, "instances can be listed again; continuing");
        }
        let running = listed.iter().filter(|status| status.is_running());
        let running: BTreeMap<_, _> = running.map(|status| (status.name.clone(), run_of(status))).collect();
        let before = std::mem::replace(&mut self.runs, running);
        if std::mem::take(&mut self.was_away) {
            self.interrupted.extend(before.into_iter().filter(|(name, run)| self.runs.get(name) != Some(run)));
        }
        for status in &listed {
            if let InstanceState::Exited(exit) = &status.state {
                self.report_exit(status, exit, loaded, shared).await;
            }
        }
        let is_listed = |name: &InstanceName| listed.iter().any(|status| status.name == *name);
        self.exits.retain(|name, _| is_listed(name));
        let is_recorded = |name: &InstanceName| loaded.state.app.placement_of(name).is_some();
        self.backoffs.retain(|name, _| is_recorded(name));
        self.start_errors.retain(|name, _| is_recorded(name));
        self.listed = Some(listed);
    }

    async fn report_exit(&mut self, status: &InstanceStatus, exit: &Exit, loaded: &Loaded, shared: &Shared) {
        let run = run_of(status);
        if self.exits.get(&status.name).is_some_and(|report| report.run == run) {
            return;
        }
        let mut text = format!("{} {exit}", status.name);
        if let Some(placement) = loaded.state.app.placement_of(&status.name) {
            let runtime = shared.runtimes.of(&placement.spec);
            let lines = tokio::time::timeout(EXIT_LINES_DEADLINE, last_lines(runtime.as_ref(), &status.name)).await;
            let lines = lines.unwrap_or_default();
            if lines.is_empty() {
                text.push_str("; it wrote nothing");
            } else {
                text.push_str("; its last lines:");
                lines.iter().for_each(|line| {
                    text.push_str("\n  ");
                    text.push_str(line);
                });
            }
        }
        self.exits.insert(status.name.clone(), ExitReport { run, text });
    }

    fn fact(&mut self, status: &InstanceStatus, now: Timestamp, probes: &Probes) -> InstanceFact {
        let name = &status.name;
        let run = run_of(status);
        let state = match &status.state {
            InstanceState::Running { address, since } => {
                if now.since(*since) >= STABLE_AFTER {
                    self.backoffs.remove(name);
                }
                InstanceSeen::Running { address: *address, run: run.clone() }
            }
            InstanceState::Frozen { .. } => InstanceSeen::Frozen { run: run.clone() },
            InstanceState::Created => InstanceSeen::Created,
            InstanceState::Exited(exit) => {
                self.count_exit(name, &run, now);
                let story = self.exits.get(name).map(|report| report.text.clone()).unwrap_or_default();
                InstanceSeen::Exited { out_of_memory: exit.out_of_memory, story }
            }
        };
        InstanceFact {
            health: probes.health(name, &run),
            start_error: self.start_errors.get(name).cloned(),
            restart_at: self.backoffs.get(name).map(|backoff| backoff.restart_at).unwrap_or_default(),
            state,
        }
    }

    /// Adds recorded instances that do not exist, with their failed starts and back-off. An instance counts as created
    /// from the beginning of its start: if the record dropped it before the start ended, it would be left over.
    fn add_missing(&self, loaded: &Loaded, effects: &Effects, facts: &mut BTreeMap<InstanceName, InstanceFact>) {
        for name in loaded.state.app.placements().flat_map(|placement| placement.instances()) {
            let is_starting = effects.is_starting(&name);
            facts.entry(name.clone()).or_insert_with(|| InstanceFact {
                state: if is_starting { InstanceSeen::Created } else { InstanceSeen::Missing },
                health: Default::default(),
                start_error: self.start_errors.get(&name).cloned(),
                restart_at: self.backoffs.get(&name).map(|backoff| backoff.restart_at).unwrap_or_default(),
            });
        }
    }

    /// Marks runs that their runtime ended as interrupted, not exited, until another run has taken their place in the
    /// record too.
    fn mark_interrupted(&mut self, loaded: &Loaded, facts: &mut BTreeMap<InstanceName, InstanceFact>) {
        let slots = &loaded.state.app.slots;
        self.interrupted.retain(|name, run| {
            let placement = slots.values().find(|placement| placement.id == name.placement);
            let replica = placement
                .and_then(|placement| placement.replicas.iter().find(|replica| placement.name_of(replica) == *name));
            // An instance that no slot names any more will be stopped, and may be gone.
            let (Some(replica), Some(fact)) = (replica, facts.get_mut(name)) else { return false };
            let is_back = fact.state.is_there_to_stay() && replica.run.as_ref() != Some(run);
            if !is_back {
                fact.state = InstanceSeen::Interrupted;
            }
            !is_back
        });
    }

    fn count_exit(&mut self, name: &InstanceName, run: &str, now: Timestamp) {
        let backoff = self.backoffs.entry(name.clone()).or_default();
        if backoff.run != run {
            run.clone_into(&mut backoff.run);
            backoff.exits = backoff.exits.saturating_add(1);
            backoff.restart_at = now.after(backoff_after(backoff.exits));
        }
    }
}

/// The wait before a restart: none after the first exit, then twice as long after each further exit.
fn backoff_after(exits: u32) -> Millis {
    match exits {
        0 | 1 => Millis(0),
        _ => Millis((BACKOFF_FIRST.0 << (exits - 2).min(10)).min(BACKOFF_MAX.0)),
    }
}

/// The identity of a run. A container keeps its id when it is started again, so the time of the start is a part of it.
fn run_of(status: &InstanceStatus) -> String {
    match &status.state {
        InstanceState::Running { since, .. } | InstanceState::Frozen { since } => format!("{}@{}", status.id, since.0),
        InstanceState::Exited(exit) => format!("{}@{}", status.id, exit.at.0),
        InstanceState::Created => status.id.clone(),
    }
}

fn runtime_names(loaded: &Loaded) -> impl Iterator<Item = &'static str> {
    let placed = loaded.state.app.placements().map(|placement| &placement.spec);
    let wanted = loaded.state.release.iter().map(|release| &release.spec);
    placed.chain(wanted).map(|spec| spec.runtime())
}

async fn last_lines(runtime: &dyn Runtime, name: &InstanceName) -> Vec<String> {
    let Ok(lines) = runtime.logs(name, LogQuery { tail: EXIT_LINES, follow: false }).await else { return Vec::new() };
    let lines: Vec<_> = lines.filter_map(async |line| line.ok()).map(|line| line.text).collect().await;
    lines
}

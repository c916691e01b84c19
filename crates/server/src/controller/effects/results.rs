//! The outcomes of actions, as far as this run of the server carried them out: the core reads them as facts.

use super::{Effects, Event, FREEZE_TRIES_MAX, Work};
use gapless_core::facts::GateEnd;
use gapless_core::gate::GateResult;
use gapless_core::{Artifacts, InstanceName};
use std::collections::BTreeMap;

impl Effects {
    /// The outcome of preparing that deployment's release, once there is one.
    pub(in crate::controller) fn prepared(&self, deployment: u64) -> Option<Result<Artifacts, String>> {
        self.prepared.as_ref().filter(|(number, _)| *number == deployment).map(|(_, result)| result.clone())
    }

    /// True while a start of the instance is in progress.
    pub(in crate::controller) fn is_starting(&self, name: &InstanceName) -> bool {
        self.in_progress.contains(&Work::Start(name.clone()))
    }

    /// True while a stop of the instance is in progress.
    pub(in crate::controller) fn is_stopping(&self, name: &InstanceName) -> bool {
        self.in_progress.contains(&Work::Stop(name.clone()))
    }

    /// True while a freeze of the instance is in progress.
    pub(in crate::controller) fn is_freezing(&self, name: &InstanceName) -> bool {
        self.in_progress.contains(&Work::Freeze(name.clone()))
    }

    /// The outcomes of that deployment's gates.
    pub(in crate::controller) fn gate_outcomes(&self, deployment: u64) -> BTreeMap<String, GateEnd> {
        if self.gates_of == deployment { self.gate_outcomes.clone() } else { BTreeMap::new() }
    }

    /// The outcomes of that deployment's hooks.
    pub(in crate::controller) fn hook_outcomes(&self, deployment: u64) -> BTreeMap<String, GateResult> {
        let outcomes = self.hook_outcomes.iter().filter(|((number, _), _)| *number == deployment);
        outcomes.map(|((_, name), result)| (name.clone(), result.clone())).collect()
    }

    /// Records the outcome of an action.
    pub(in crate::controller) fn record(&mut self, event: &Event) {
        match event {
            Event::Prepared { deployment, result } => {
                self.in_progress.remove(&Work::Prepare(*deployment));
                self.prepared = Some((*deployment, result.clone()));
                self.shared.progress.set(&self.key, None);
            }
            Event::GateEnded { deployment, name, end } => {
                let work = Work::Gate { deployment: *deployment, name: name.clone(), attempt: end.attempt };
                self.in_progress.remove(&work);
                self.tests.remove(&work);
                if self.gates_of == *deployment {
                    self.gate_outcomes.insert(name.clone(), end.clone());
                }
            }
            Event::HookEnded { deployment, name, result } => {
                let work = Work::Hook { deployment: *deployment, name: name.clone() };
                self.in_progress.remove(&work);
                self.tests.remove(&work);
                // Only the outcomes of the current deployment are needed.
                self.hook_outcomes.retain(|(number, _), _| number == deployment);
                self.hook_outcomes.insert((*deployment, name.clone()), result.clone());
            }
            Event::Started { name, .. } => {
                self.in_progress.remove(&Work::Start(name.clone()));
                self.restarts_set.remove(name);
            }
            Event::Stopped { name, result } => {
                self.in_progress.remove(&Work::Stop(name.clone()));
                self.restarts_set.remove(name);
                if let Err(error) = result {
                    tracing::warn!(instance = %name, "instance was not stopped: {error}; retrying");
                }
            }
            Event::Frozen { name, is_frozen, result } => {
                let work = if *is_frozen { Work::Freeze(name.clone()) } else { Work::Thaw(name.clone()) };
                self.in_progress.remove(&work);
                match result {
                    Err(error) if *is_frozen => {
                        let failures = self.unfreezable.entry(name.clone()).or_default();
                        *failures += 1;
                        let next = if *failures < FREEZE_TRIES_MAX { "retrying" } else { "leaving it running" };
                        tracing::warn!(instance = %name, "instance was not frozen: {error}; {next}");
                    }
                    Err(error) => tracing::warn!(instance = %name, "instance was not thawed: {error}; retrying"),
                    Ok(()) => {
                        self.unfreezable.remove(name);
                        let event = if *is_frozen { "frozen" } else { "thawed" };
                        tracing::info!(instance = %name, "instance was {event}");
                    }
                }
            }
            Event::Kept { result } => {
                self.in_progress.remove(&Work::Keep);
                if let Err(error) = result {
                    tracing::warn!(application = %self.key, "artifacts for rollbacks were not kept: {error}; retrying");
                    self.kept.clear();
                }
            }
            Event::RestartSet { name, comes_back, result } => {
                self.in_progress.remove(&Work::SetRestart(name.clone()));
                match result {
                    Ok(()) => drop(self.restarts_set.insert(name.clone(), *comes_back)),
                    Err(error) => {
                        tracing::warn!(instance = %name, "restart policy was not set: {error}; retrying");
                    }
                }
            }
            Event::Health { .. } => {}
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

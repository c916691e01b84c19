//! Hooks in a deployment, migrations among them: each runs once, in order, and is recorded before its start and after
//! its end. Also holds requests for the hooks that need it.

use super::transition::Transition;
use crate::Timestamp;
use crate::deployment::{Cause, Kind, Outcome, Phase, Reason};
use crate::gate::GateResult;
use crate::hook::{Hook, HookPoint, HookReport, Migrated};
use crate::planted;

/// The largest number of completed migrations that the application's record keeps.
const MIGRATIONS_KEPT: usize = 100;

/// The progress of the hooks of a point.
pub(super) enum Hooks {
    /// All of them have succeeded.
    Done,
    /// A hook runs, or is about to start.
    Running,
    /// A hook has failed.
    Failed(Reason),
}

impl Transition<'_> {
    /// Advances the hooks of a point, one after the other.
    pub(super) fn hooks(&mut self, at: HookPoint) -> Hooks {
        for hook in self.hooks_at(at) {
            let Some(report) = self.deployment.hooks.iter_mut().find(|report| report.name == hook.name) else {
                let (started_by, since) = (self.facts.server.clone(), self.facts.now);
                let report = HookReport { name: hook.name, at, started_by, since, until: None, result: None };
                self.deployment.hooks.push(report);
                return Hooks::Running;
            };
            if report.started_by != self.facts.server && report.result.is_none() && planted::repeats_hooks() {
                report.started_by.clone_from(&self.facts.server);
            }
            if report.result.is_none() {
                let Some(result) = result_of(report, &self.facts.hooks, &self.facts.server) else {
                    return Hooks::Running;
                };
                let has_passed = result.passed;
                (report.until, report.result) = (Some(self.facts.now), Some(result));
                if has_passed {
                    self.note_migration(&hook);
                }
                return self.hooks(at);
            }
            if let Some(result) = report.result.as_ref().filter(|result| !result.passed) {
                return Hooks::Failed(Reason::new(Cause::Hook, failure_message(&hook, result)));
            }
        }
        Hooks::Done
    }

    fn note_migration(&mut self, hook: &Hook) {
        let release = self.release.number;
        if hook.migration.is_some() {
            self.app.migrations.push(Migrated { release, hook: hook.clone() });
            let surplus = self.app.migrations.len().saturating_sub(MIGRATIONS_KEPT);
            self.app.migrations.drain(..surplus);
        }
        // In a rollback the hook was the `back` of a migration, which is now undone.
        if self.deployment.kind == Kind::Rollback {
            self.app.migrations.retain(|done| done.hook.back().is_none_or(|back| back.name != hook.name));
        }
    }

    /// The hooks of a point: those of the release, or in a rollback those that undo migrations.
    fn hooks_at(&self, at: HookPoint) -> Vec<Hook> {
        let all = match self.deployment.kind {
            Kind::Deploy => &self.release.spec.hooks,
            Kind::Rollback => &self.deployment.undo_hooks,
        };
        let mut hooks: Vec<_> = all.iter().filter(|hook| hook.at == at).cloned().collect();
        // Migrations run before the other hooks of their point; otherwise the order is that of the configuration.
        hooks.sort_by_key(|hook| hook.migration.is_none());
        hooks
    }

    /// A hook or migration is due between the tests and the cutover.
    pub(super) fn has_hooks_before_cutover(&self) -> bool {
        !self.hooks_at(HookPoint::BeforeCutover).is_empty() || !self.hooks_at(HookPoint::Held).is_empty()
    }

    /// Runs the hooks before the cutover; then holds requests and runs the hooks that need a hold.
    pub(super) fn migrating(&mut self) {
        if self.ends_while_waiting() {
            return;
        }
        match self.hooks(HookPoint::BeforeCutover) {
            Hooks::Running => return,
            Hooks::Failed(reason) => return self.fail(reason.cause, reason.message),
            Hooks::Done => {}
        }
        if self.hooks_at(HookPoint::Held).is_empty() {
            return self.start_shift();
        }
        let hold = self.release.spec.hold.clone();
        let since = match self.app.hold.as_ref() {
            Some(held) => held.since,
            None => {
                let since = self.facts.now;
                self.deployment.receipt.baseline_held = self.facts.held.count;
                self.app.hold = Some(crate::application::Held { since, settings: hold });
                return;
            }
        };
        if self.facts.now >= since.after(hold.timeout) {
            let message =
                format!("the migrations were not done within {}, the longest hold (hold.timeout)", hold.timeout);
            return self.fail(Cause::Hook, message);
        }
        let has_started = self.deployment.hooks.iter().any(|report| report.at == HookPoint::Held);
        if !has_started && !self.is_quiet(since) {
            return;
        }
        match self.hooks(HookPoint::Held) {
            Hooks::Running => {}
            Hooks::Failed(reason) => self.fail(reason.cause, reason.message),
            Hooks::Done => {
                self.count_from_here();
                self.cutover();
            }
        }
    }

    /// Every data plane holds requests, and the earlier ones have finished or used up `hold.drain`.
    fn is_quiet(&self, since: Timestamp) -> bool {
        let is_held = self.planes_behind().is_empty();
        let live = self.app.live_placement().map(|live| &live.id);
        let is_finished = live.is_none_or(|id| self.facts.is_drained(id));
        is_held && (is_finished || self.facts.now >= since.after(self.release.spec.hold.drain))
    }

    /// Runs the hooks on failure, then ends the deployment with `outcome`.
    pub(super) fn failing(&mut self, outcome: Outcome) {
        match self.hooks(HookPoint::OnFailure) {
            Hooks::Running => {}
            // A failed hook does not replace the reason for which the deployment has failed.
            Hooks::Done | Hooks::Failed(_) => self.end_now(outcome),
        }
    }

    /// Ends the deployment, after the hooks on failure if it has failed.
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.app.hold = None;
        let is_failure = matches!(outcome, Outcome::Failed(_) | Outcome::Reverted(_));
        if is_failure && !self.hooks_at(HookPoint::OnFailure).is_empty() {
            return self.enter(Phase::Failing(outcome));
        }
        self.end_now(outcome);
    }

    fn end_now(&mut self, outcome: Outcome) {
        self.app.active = None;
        self.enter(Phase::Ended(outcome));
    }

    /// The names of this release's completed migrations, which a revert does not undo.
    pub(super) fn migrations_not_undone(&self) -> Option<String> {
        let names: Vec<_> = self
            .deployment
            .hooks
            .iter()
            .filter(|report| {
                let has_passed = report.result.as_ref().is_some_and(|result| result.passed);
                let is_migration = |hook: &&Hook| hook.name == report.name && hook.migration.is_some();
                has_passed && self.release.spec.hooks.iter().any(|hook| is_migration(&hook))
            })
            .map(|report| report.name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// The result of a hook that was started; `None` while it runs.
fn result_of(
    report: &HookReport,
    ends: &std::collections::BTreeMap<String, GateResult>,
    server: &str,
) -> Option<GateResult> {
    if report.started_by != server {
        let summary = "the server ended while the hook ran, so its result is not known; the hook is not started again";
        return Some(GateResult {
            passed: false,
            summary: summary.to_owned(),
            lines: Vec::new(),
            tests: None,
            latency: None,
        });
    }
    ends.get(&report.name).cloned()
}

fn failure_message(hook: &Hook, result: &GateResult) -> String {
    let kind = if hook.migration.is_some() { "migration" } else { "hook" };
    let mut message = format!("{kind} {} ({}) failed: {}", hook.name, hook.at.as_str(), result.summary);
    if !result.lines.is_empty() {
        message.push_str("; its last lines:");
        result.lines.iter().for_each(|line| {
            message.push_str("\n  ");
            message.push_str(line);
        });
    }
    message
}

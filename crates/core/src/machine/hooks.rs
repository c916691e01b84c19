//! Hooks in a deployment: begun once each, in their order, and recorded before and after; migrations; and holding
//! requests for those that need it.

use super::transition::Transition;
use crate::Timestamp;
use crate::deployment::{Cause, Kind, Outcome, Phase, Reason};
use crate::gate::GateResult;
use crate::hook::{Hook, HookPoint, HookReport, Migrated};
use crate::planted;

/// How many migrations are remembered.
const MIGRATIONS_KEPT: usize = 100;

/// How far the hooks of a point are.
pub(super) enum Hooks {
    /// All of them have succeeded.
    Done,
    /// One is being done, or is about to be.
    UnderWay,
    /// One has failed.
    Failed(Reason),
}

impl Transition<'_> {
    /// Goes on with the hooks of a point, one after the other.
    pub(super) fn hooks(&mut self, at: HookPoint) -> Hooks {
        for hook in self.hooks_at(at) {
            let Some(report) = self.deployment.hooks.iter_mut().find(|report| report.name == hook.name) else {
                let (begun_by, since) = (self.facts.server.clone(), self.facts.now);
                let report = HookReport { name: hook.name, at, begun_by, since, until: None, result: None };
                self.deployment.hooks.push(report);
                return Hooks::UnderWay;
            };
            if report.begun_by != self.facts.server && report.result.is_none() && planted::repeats_hooks() {
                report.begun_by.clone_from(&self.facts.server);
            }
            if report.result.is_none() {
                let Some(result) = end_of(report, &self.facts.hooks, &self.facts.server) else {
                    return Hooks::UnderWay;
                };
                let has_passed = result.passed;
                (report.until, report.result) = (Some(self.facts.now), Some(result));
                if has_passed {
                    self.note_migration(&hook);
                }
                return self.hooks(at);
            }
            if let Some(result) = report.result.as_ref().filter(|result| !result.passed) {
                return Hooks::Failed(Reason::new(Cause::Hook, told(&hook, result)));
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
        // The way back of a migration was gone.
        if self.deployment.kind == Kind::Rollback {
            self.app.migrations.retain(|done| done.hook.back().is_none_or(|back| back.name != hook.name));
        }
    }

    /// The hooks of a point: those of the release, and of a rollback those that undo migrations.
    fn hooks_at(&self, at: HookPoint) -> Vec<Hook> {
        let all = match self.deployment.kind {
            Kind::Deploy => &self.release.spec.hooks,
            Kind::Rollback => &self.deployment.undo_hooks,
        };
        let mut hooks: Vec<_> = all.iter().filter(|hook| hook.at == at).cloned().collect();
        // Migrations stand before the other hooks of their point; otherwise the order is the user's.
        hooks.sort_by_key(|hook| hook.migration.is_none());
        hooks
    }

    /// Whether something has to be done between the tests and the cutover.
    pub(super) fn has_hooks_before_cutover(&self) -> bool {
        !self.hooks_at(HookPoint::BeforeCutover).is_empty() || !self.hooks_at(HookPoint::Held).is_empty()
    }

    /// The hooks before the cutover; then, with requests held, those that need that.
    pub(super) fn migrating(&mut self) {
        if self.is_ended_while_it_waits() {
            return;
        }
        match self.hooks(HookPoint::BeforeCutover) {
            Hooks::UnderWay => return,
            Hooks::Failed(reason) => return self.fail(reason.cause, reason.message),
            Hooks::Done => {}
        }
        if self.hooks_at(HookPoint::Held).is_empty() {
            return self.shift();
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
            let message = format!("not done while requests could be held, for {} (hold.timeout)", hold.timeout);
            return self.fail(Cause::Hook, message);
        }
        let has_begun = self.deployment.hooks.iter().any(|report| report.at == HookPoint::Held);
        if !has_begun && !self.is_quiet(since) {
            return;
        }
        match self.hooks(HookPoint::Held) {
            Hooks::UnderWay => {}
            Hooks::Failed(reason) => self.fail(reason.cause, reason.message),
            Hooks::Done => {
                self.count_from_here();
                self.cutover();
            }
        }
    }

    /// Whether every data plane holds requests and those before are finished, or had their time.
    fn is_quiet(&self, since: Timestamp) -> bool {
        let is_held = self.planes_behind().is_empty();
        let live = self.app.live_placement().map(|live| &live.id);
        let is_finished = live.is_none_or(|id| self.facts.is_drained(id));
        is_held && (is_finished || self.facts.now >= since.after(self.release.spec.hold.drain))
    }

    /// What is to be done after the failure, before it is over.
    pub(super) fn failing(&mut self, outcome: Outcome) {
        match self.hooks(HookPoint::OnFailure) {
            Hooks::UnderWay => {}
            // The deployment has failed for another reason, which is the one to be told.
            Hooks::Done | Hooks::Failed(_) => self.end_now(outcome),
        }
    }

    /// Ends the deployment, after what is to be done on a failure.
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

    /// The migrations of this release that stay although it goes.
    pub(super) fn migrations_that_stay(&self) -> Option<String> {
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

/// What came of a hook that was begun.
fn end_of(
    report: &HookReport,
    ends: &std::collections::BTreeMap<String, GateResult>,
    server: &str,
) -> Option<GateResult> {
    if report.begun_by != server {
        let summary = "the server ended while it ran, and whether it was done is not known; it is not begun twice";
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

fn told(hook: &Hook, result: &GateResult) -> String {
    let kind = if hook.migration.is_some() { "migration" } else { "hook" };
    let mut message = format!("the {kind} {} ({}) failed: {}", hook.name, hook.at.as_str(), result.summary);
    if !result.lines.is_empty() {
        message.push_str("; its last lines:");
        result.lines.iter().for_each(|line| {
            message.push_str("\n  ");
            message.push_str(line);
        });
    }
    message
}

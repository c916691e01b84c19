//! A deployment: one attempt to make a release live. A durable record that goes through phases to one of four ends.

use crate::gate::GateReport;
use crate::hook::{Hook, HookReport};
use crate::judge::Comparison;
use crate::spec::ApprovalRule;
use crate::{AppKey, Artifacts, Slot, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One attempt to make a release live in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Its number, from 1, per application and environment.
    pub number: u64,
    /// The application and environment.
    pub key: AppKey,
    /// Whether it goes forward to a new release or back to an earlier one.
    pub kind: Kind,
    /// The number of the release.
    pub release: u64,
    /// Whether it is carried out although the very same is live.
    #[serde(default)]
    pub forced: bool,
    /// The path by which a rollback reaches its release.
    #[serde(default, rename = "way", skip_serializing_if = "Option::is_none")]
    pub rollback_path: Option<RollbackPath>,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// The slot that it fills, once it has begun.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// What was live when it began.
    #[serde(default)]
    pub previous: Option<Previous>,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// The phases behind it.
    #[serde(default)]
    pub passed: Vec<PassedPhase>,
    /// That a person wants it to end, if one does.
    #[serde(default)]
    pub abort: Option<Abort>,
    /// The token by which tests and people reach its slot before its cutover.
    #[serde(default)]
    pub preview_token: String,
    /// How its gates went, in the order in which they first came to an end.
    #[serde(default)]
    pub gates: Vec<GateReport>,
    /// How its hooks went, in the order in which they were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookReport>,
    /// Of a rollback: the hooks that undo the migrations between the live release and its own.
    #[serde(default, rename = "way_back_hooks", skip_serializing_if = "Vec::is_empty")]
    pub undo_hooks: Vec<Hook>,
    /// Who has approved it.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Who has refused it, if someone has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// How far its canary is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryProgress>,
    /// What it proves.
    #[serde(default)]
    pub receipt: Receipt,
}

/// How far a canary is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryProgress {
    /// The step, from 0.
    pub step: u16,
    /// The share of requests that go to the new slot, in percent.
    pub weight: u8,
    /// Since when.
    pub since: Timestamp,
    /// Who has paused it, if someone has: then no step ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Whether a person set the weight. It is not moved until one says so.
    #[serde(default)]
    pub by_hand: bool,
    /// Whether a person wants the next step now.
    #[serde(default)]
    pub goes_on: bool,
}

/// How a rollback comes to its release, the fastest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RollbackPath {
    /// Its instances still run.
    Running,
    /// Its instances are frozen, and go on.
    Parked,
    /// It is started again from what is kept on the host.
    Started,
}

/// That a person has approved a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// That a person has refused a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Which way a deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Forward, to a new release, with an observation in which it is taken back if it fails.
    Deploy,
    /// A person going back to an earlier release. Its bad signs are shown, and never undo what the person decided.
    Rollback,
}

/// What was live when a deployment began: where a revert goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// Its slot.
    pub slot: Slot,
    /// The number of its release.
    pub release: u64,
    /// The number of the deployment that had put it there.
    pub deployment: u64,
}

/// Where a deployment is. The table of the phases is in `ARCHITECTURE.md`, a row an arm of `machine::advance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It waits for its turn.
    Queued,
    /// Its release is resolved and fetched.
    Preparing,
    /// Its instances are created and started in the idle slot.
    Starting,
    /// Their health is checked.
    Checking,
    /// Its gates run: tests that reach it while nobody else does.
    Testing,
    /// It waits for people to approve it.
    Approving,
    /// The hooks and migrations before the cutover run.
    Migrating,
    /// A share of the requests goes to the new slot, and grows step by step.
    Canary,
    /// The cutover is committed; the data planes apply it.
    Shifting,
    /// The new slot is watched, with the old one ready to take over again.
    Observing,
    /// The old slot leaves the route table.
    Retiring,
    /// The cutover was taken back; the data planes apply that.
    Reverting(Reason),
    /// It has come to that end, and what is to be done on a failure runs.
    Failing(Outcome),
    /// It is over.
    Ended(Outcome),
}

impl Phase {
    /// The phase's name, as it is shown.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Preparing => "preparing",
            Phase::Starting => "starting",
            Phase::Checking => "checking",
            Phase::Testing => "testing",
            Phase::Approving => "approving",
            Phase::Migrating => "migrating",
            Phase::Canary => "canary",
            Phase::Shifting => "shifting",
            Phase::Observing => "observing",
            Phase::Retiring => "retiring",
            Phase::Reverting(_) => "reverting",
            Phase::Failing(_) => "failing",
            Phase::Ended(Outcome::Succeeded { .. }) => "succeeded",
            Phase::Ended(Outcome::Unchanged { .. }) => "unchanged",
            Phase::Ended(Outcome::Failed(_)) => "failed",
            Phase::Ended(Outcome::Cancelled(_)) => "cancelled",
            Phase::Ended(Outcome::Reverted(_)) => "reverted",
        }
    }

    /// Whether the deployment is over.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Phase::Ended(_))
    }
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its release is live.
    Succeeded {
        /// What was not as it should be all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    },
    /// The very same was live already, so nothing was done.
    Unchanged {
        /// The number of the release that is live.
        release: u64,
    },
    /// Its release never became live, and what was live still is.
    Failed(Reason),
    /// It was ended by a person, or by a newer one, before its release became live.
    Cancelled(Reason),
    /// Its release was live and was taken back.
    Reverted(Reason),
}

/// Why a deployment did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What kind of reason it is.
    pub cause: Cause,
    /// What happened, why, and what to do, in a sentence or more.
    pub message: String,
}

impl Reason {
    /// A reason of that kind.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Reason { cause, message: message.into() }
    }
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// What should run could not be had.
    Prepare,
    /// An instance could not be created or started.
    Start,
    /// An instance did not pass its health check, or failed it later.
    Unhealthy,
    /// An instance exited.
    Exited,
    /// An instance was killed for its memory.
    OutOfMemory,
    /// A gate failed.
    Gate,
    /// A hook or a migration failed.
    Hook,
    /// A person refused it.
    Rejected,
    /// Nobody approved it in time.
    Expired,
    /// A data plane did not apply the cutover in time.
    Shift,
    /// It answered worse than the old release, or than its limits allow.
    Judged,
    /// Too many requests could not be sent to it.
    Unreachable,
    /// A person ended it.
    Aborted,
    /// A newer deployment took its place in the queue.
    Superseded,
}

/// That a person wants a deployment to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they did, such as `aborted` or `rolled back`.
    pub verb: String,
}

/// A phase that a deployment has behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PassedPhase {
    /// The phase's name.
    pub phase: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
}

/// What a deployment proves: how long the cutover took, and what became of the requests meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What exactly it runs: by service the image's digest, the program's checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// When the cutover was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover_at: Option<Timestamp>,
    /// From the committed cutover to the last data plane's acknowledgement, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover_us: Option<u64>,
    /// Requests in flight at the old slot when the last data plane had applied the cutover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_at_cutover: Option<u64>,
    /// Requests that were held for a migration.
    #[serde(default)]
    pub held: u64,
    /// The longest that one of them was, in microseconds.
    #[serde(default)]
    pub held_longest_us: u64,
    /// The longest from the table that let them go to one's being sent on, in microseconds.
    #[serde(default)]
    pub held_release_us: u64,
    /// Requests that had been held before this deployment held any.
    #[serde(default)]
    pub baseline_held: u64,
    /// The new release against the old one, while both got requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Comparison>,
    /// The new release after the cutover, against what the old one did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Comparison>,
    /// Requests of the slot that was live before, while the deployment was under way.
    #[serde(default)]
    pub old: Traffic,
    /// Requests of the slot that the deployment filled.
    #[serde(default)]
    pub new: Traffic,
    /// The counts of the old slot when the deployment began; what `old` is counted from.
    #[serde(default)]
    pub baseline_old: Traffic,
    /// The counts of the new slot when the deployment began: not zero where a rollback found it still running.
    #[serde(default)]
    pub baseline_new: Traffic,
}

/// Counts of requests, over all data planes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Requests that were sent to the placement.
    pub requests: u64,
    /// Of these, those that got no complete answer from it or from another instance in its stead.
    pub failed: u64,
    /// Answers with a status from 500.
    #[serde(default)]
    pub errors: u64,
    /// Requests that were sent once more, to another instance, since the first one could not take them.
    #[serde(default)]
    pub retried: u64,
    /// Requests that this slot took because the live one could not.
    #[serde(default)]
    pub fallen_back: u64,
    /// Attempts that failed because an instance took no connection.
    #[serde(default)]
    pub refused: u64,
    /// Attempts that failed because an instance broke the connection.
    #[serde(default)]
    pub reset: u64,
    /// Attempts that failed because an instance did not answer in time.
    #[serde(default)]
    pub timed_out: u64,
}

impl Traffic {
    /// What was added since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            errors: self.errors.saturating_sub(earlier.errors),
            retried: self.retried.saturating_sub(earlier.retried),
            fallen_back: self.fallen_back.saturating_sub(earlier.fallen_back),
            refused: self.refused.saturating_sub(earlier.refused),
            reset: self.reset.saturating_sub(earlier.reset),
            timed_out: self.timed_out.saturating_sub(earlier.timed_out),
        }
    }

    /// Both together.
    pub const fn add(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.errors += other.errors;
        self.retried += other.retried;
        self.fallen_back += other.fallen_back;
        self.refused += other.refused;
        self.reset += other.reset;
        self.timed_out += other.timed_out;
    }
}

impl Deployment {
    /// Goes into `phase` and notes how long the one before lasted.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        let passed = PassedPhase { phase: self.phase.name().to_owned(), since: self.phase_since, until: now };
        self.passed.push(passed);
        self.phase = phase;
        self.phase_since = now;
    }
}

impl ApprovalRule {
    /// Whether as many people as are needed have approved the deployment.
    #[must_use]
    pub fn is_met(&self, deployment: &Deployment) -> bool {
        deployment.approvals.len() >= usize::from(self.people)
    }
}

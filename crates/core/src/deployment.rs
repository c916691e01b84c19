//! A deployment: one attempt to make a release live, as a durable record. It passes through [`Phase`]s to an
//! [`Outcome`], and its [`Receipt`] proves what became of the requests meanwhile.

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
    /// The deployment's number, from 1, per application and environment.
    pub number: u64,
    /// The application and environment.
    pub key: AppKey,
    /// The direction: forward to a new release, or back to an earlier one.
    pub kind: Kind,
    /// The number of the release.
    pub release: u64,
    /// The deployment is carried out even if the same release is live.
    #[serde(default)]
    pub forced: bool,
    /// The path by which a rollback reaches its release.
    #[serde(default, rename = "way", skip_serializing_if = "Option::is_none")]
    pub rollback_path: Option<RollbackPath>,
    /// The name of the person or program that requested it.
    pub requested_by: String,
    /// The instant of the request.
    pub requested_at: Timestamp,
    /// The slot that the deployment fills, once it is active.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// The live placement at the start of the deployment.
    #[serde(default)]
    pub previous: Option<Previous>,
    /// The present phase.
    pub phase: Phase,
    /// The start of the present phase.
    pub phase_since: Timestamp,
    /// The completed phases, in their order.
    #[serde(default)]
    pub passed: Vec<PassedPhase>,
    /// A person's request to end the deployment.
    #[serde(default)]
    pub abort: Option<Abort>,
    /// The token with which tests and people reach the new slot before the cutover.
    #[serde(default)]
    pub preview_token: String,
    /// The results of its gates, in the order of their first end.
    #[serde(default)]
    pub gates: Vec<GateReport>,
    /// The state of its hooks, in the order of their start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookReport>,
    /// Of a rollback: the hooks that undo the migrations between the live release and its own.
    #[serde(default, rename = "way_back_hooks", skip_serializing_if = "Vec::is_empty")]
    pub undo_hooks: Vec<Hook>,
    /// The approvals so far.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The refusal, if a person refused the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// The progress of its canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryProgress>,
    /// The proof of what it did.
    #[serde(default)]
    pub receipt: Receipt,
}

/// The progress of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryProgress {
    /// The step, from 0.
    pub step: u16,
    /// The share of requests that go to the new slot, in percent.
    pub weight: u8,
    /// The start of the step, or of the present weight.
    pub since: Timestamp,
    /// The name of the person who paused the canary: until it is resumed no step ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// A person set the weight, which then stays until a person changes it.
    #[serde(default)]
    pub by_hand: bool,
    /// A person asked for the next step.
    #[serde(default, rename = "goes_on")]
    pub advance_requested: bool,
}

/// The path by which a rollback reaches its release, the fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RollbackPath {
    /// The instances still run.
    Running,
    /// The instances are frozen and resume.
    Parked,
    /// The instances start again from the artifacts that the host retains.
    Started,
}

/// A person's approval of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The name of the person.
    pub by: String,
    /// The instant of the approval.
    pub at: Timestamp,
}

/// A person's refusal of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// The name of the person.
    pub by: String,
    /// The instant of the refusal.
    pub at: Timestamp,
    /// The reason that the person gave.
    pub reason: String,
}

/// The direction of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Forward, to a new release. A failure during its observation reverts it.
    Deploy,
    /// Back to an earlier release, by a person's decision. Bad signs are shown, and never undo that decision.
    Rollback,
}

/// The placement that was live at the start of a deployment: a revert makes it live again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The slot of the placement.
    pub slot: Slot,
    /// The number of the placement's release.
    pub release: u64,
    /// The number of the deployment that made the placement.
    pub deployment: u64,
}

/// The phase of a deployment. The table in `ARCHITECTURE.md` has a row for each, `machine::advance` an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The deployment waits for its turn.
    Queued,
    /// The release is resolved and fetched.
    Preparing,
    /// The instances are created and started in the idle slot.
    Starting,
    /// The health of the instances is checked.
    Checking,
    /// The gates run against the new slot, which nobody else reaches.
    Testing,
    /// The deployment waits for people to approve it.
    Approving,
    /// The hooks and migrations before the cutover run.
    Migrating,
    /// The new slot gets a share of the requests, which grows step by step.
    Canary,
    /// The cutover is committed; the data planes apply it.
    Shifting,
    /// The new slot is under observation, and the old one is ready to take over again.
    Observing,
    /// The old slot leaves the route table.
    Retiring,
    /// The cutover is reverted; the data planes apply that.
    Reverting(Reason),
    /// The outcome is decided; the hooks on failure run before the deployment ends.
    Failing(Outcome),
    /// The deployment has ended.
    Ended(Outcome),
}

impl Phase {
    /// The phase's name, as shown to people.
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

    /// The deployment has ended.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Phase::Ended(_))
    }
}

/// The end of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The new release is live.
    Succeeded {
        /// A problem that did not prevent the success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    },
    /// The same release was live already; nothing was done.
    Unchanged {
        /// The number of the live release.
        release: u64,
    },
    /// The release never became live; the earlier one still is.
    Failed(Reason),
    /// A person or a newer deployment ended it before its release became live.
    Cancelled(Reason),
    /// The release was live and was reverted.
    Reverted(Reason),
}

/// The reason for an outcome that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The kind of reason.
    pub cause: Cause,
    /// The event, its cause and the next step for a person, in a sentence or more.
    pub message: String,
}

impl Reason {
    /// A reason of the kind `cause`.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Reason { cause, message: message.into() }
    }
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The release could not be resolved or fetched.
    Prepare,
    /// An instance could not be created or started.
    Start,
    /// An instance did not pass its health check, or failed it later.
    Unhealthy,
    /// An instance exited.
    Exited,
    /// The kernel killed an instance that exceeded its memory.
    OutOfMemory,
    /// A gate failed.
    Gate,
    /// A hook or a migration failed.
    Hook,
    /// A person refused the deployment.
    Rejected,
    /// Too few people approved the deployment in time.
    Expired,
    /// A data plane did not apply the cutover in time.
    Shift,
    /// The release answered worse than the old one, or exceeded an absolute limit.
    Judged,
    /// Too many requests in a row could not be sent to the release.
    Unreachable,
    /// A person ended the deployment.
    Aborted,
    /// A newer deployment took its place in the queue.
    Superseded,
}

/// A person's request to end a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The name of the person.
    pub by: String,
    /// The instant of the request.
    pub at: Timestamp,
    /// The past participle of the person's command, such as `aborted` or `rolled back`.
    pub verb: String,
}

/// A completed phase of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PassedPhase {
    /// The phase's name.
    pub phase: String,
    /// The start of the phase.
    pub since: Timestamp,
    /// The end of the phase.
    pub until: Timestamp,
}

/// The proof of a deployment: the duration of its cutover, and the requests that it served, lost or held meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The resolved artifacts: by service the digest of the image or the checksum of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// The instant at which the cutover was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover_at: Option<Timestamp>,
    /// The time from the commit of the cutover to the last data plane's acknowledgement, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover_us: Option<u64>,
    /// Requests in flight at the old slot at the instant at which the last data plane had applied the cutover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_at_cutover: Option<u64>,
    /// The number of requests that were held for a migration.
    #[serde(default)]
    pub held: u64,
    /// The longest hold of a request, in microseconds.
    #[serde(default)]
    pub held_longest_us: u64,
    /// The longest time from the table that lifted the hold to the forwarding of a held request, in microseconds.
    #[serde(default)]
    pub held_release_us: u64,
    /// The number of held requests before this deployment held any; `held` does not count them.
    #[serde(default)]
    pub baseline_held: u64,
    /// The comparison of both releases during the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Comparison>,
    /// The comparison of the new release since the cutover with the old one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Comparison>,
    /// Requests of the old slot since the start of the deployment.
    #[serde(default)]
    pub old: Traffic,
    /// Requests of the slot that the deployment filled.
    #[serde(default)]
    pub new: Traffic,
    /// The counts of the old slot at the start of the deployment; `old` does not include them.
    #[serde(default)]
    pub baseline_old: Traffic,
    /// The counts of the new slot at the start of the deployment; above zero for a rollback to a slot that still ran.
    #[serde(default)]
    pub baseline_new: Traffic,
}

/// Counts of requests, summed over all data planes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Requests that were sent to the placement.
    pub requests: u64,
    /// Of these, the requests without a complete answer from this placement or from another one that took over.
    pub failed: u64,
    /// Answers with a status of 500 or more.
    #[serde(default)]
    pub errors: u64,
    /// Requests that were sent again to another instance, because the first one could not take them.
    #[serde(default)]
    pub retried: u64,
    /// Requests that this slot took because the live one could not.
    #[serde(default)]
    pub fallen_back: u64,
    /// Attempts that failed because an instance refused the connection.
    #[serde(default)]
    pub refused: u64,
    /// Attempts that failed because an instance reset the connection.
    #[serde(default)]
    pub reset: u64,
    /// Attempts that failed because an instance did not answer in time.
    #[serde(default)]
    pub timed_out: u64,
}

impl Traffic {
    /// The increase since `earlier`.
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

    /// Adds the counts of `other`.
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
    /// Enters `phase` at `now` and records the one that it ends.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        let passed = PassedPhase { phase: self.phase.name().to_owned(), since: self.phase_since, until: now };
        self.passed.push(passed);
        self.phase = phase;
        self.phase_since = now;
    }
}

impl ApprovalRule {
    /// Enough people have approved the deployment.
    #[must_use]
    pub fn is_met(&self, deployment: &Deployment) -> bool {
        deployment.approvals.len() >= usize::from(self.people)
    }
}

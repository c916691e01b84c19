//! Deployments as text for people.

use super::{local_time, receipt};
use gapless_core::deployment::{Deployment, Kind, Outcome, Reason, RollbackPath};
use gapless_core::{Millis, Phase};
use std::fmt::Write;

/// Everything about a deployment, over several lines.
pub fn whole(deployment: &Deployment) -> String {
    let mut text = String::new();
    let kind = match deployment.kind {
        Kind::Deploy => "deploys",
        Kind::Rollback => "rolls back to",
    };
    let (number, key, release) = (deployment.number, &deployment.key, deployment.release);
    let _ = writeln!(text, "deployment {number} of {key} {kind} release {release}");
    let _ = writeln!(text, "  requested by {} at {}", deployment.requested_by, local_time(deployment.requested_at));
    if let Some(artifacts) = &deployment.receipt.artifacts {
        let from = deployment.previous.map(|previous| format!(", after release {}", previous.release));
        let _ = writeln!(text, "  runs {artifacts}{}", from.unwrap_or_default());
    }
    for passed in &deployment.passed {
        let _ = writeln!(text, "  {}", phase_line(&passed.phase, passed.until.since(passed.since)));
    }
    for gate in &deployment.gates {
        let verdict = if gate.result.passed { "passed" } else { "failed" };
        let _ = writeln!(
            text,
            "  gate {} {verdict} in {}: {}",
            gate.name,
            gate.until.since(gate.since),
            gate.result.summary
        );
    }
    if let Some(path) = deployment.rollback_path {
        let _ = writeln!(text, "  {}", rollback_path(path));
    }
    for hook in &deployment.hooks {
        let verdict = match &hook.result {
            Some(result) if result.passed => "done".to_owned(),
            Some(result) => format!("failed: {}", result.summary),
            None => "has not ended".to_owned(),
        };
        let took = hook.until.map(|until| format!(" in {}", until.since(hook.since))).unwrap_or_default();
        let _ = writeln!(text, "  hook {} ({}) {verdict}{took}", hook.name, hook.at.as_str());
    }
    for approval in &deployment.approvals {
        let _ = writeln!(text, "  approved by {} at {}", approval.by, local_time(approval.at));
    }
    if !deployment.phase.is_end() {
        let _ = writeln!(text, "  {:<12} since {}", deployment.phase.name(), local_time(deployment.phase_since));
    }
    let _ = writeln!(text, "{}", ending(deployment));
    text.push_str(&receipt::whole(&deployment.receipt));
    text
}

/// The path by which a rollback reached its release.
pub const fn rollback_path(path: RollbackPath) -> &'static str {
    match path {
        RollbackPath::Running => "its instances were still running",
        RollbackPath::Parked => "its instances were parked and resumed",
        RollbackPath::Started => "its instances were started again",
    }
}

/// The progress of a deployment's canary, while it is in a canary step.
pub fn canary_line(deployment: &Deployment) -> Option<String> {
    let canary = deployment.canary.as_ref().filter(|_| deployment.phase == Phase::Canary)?;
    let paused = canary.paused_by.as_ref().map(|by| format!(", paused by {by}")).unwrap_or_default();
    Some(format!("{} % of the requests go to release {}{paused}", canary.weight, deployment.release))
}

/// A completed phase and its duration.
pub fn phase_line(phase: &str, took: Millis) -> String {
    format!("{phase:<12} {took}")
}

/// The outcome of a deployment, or its present phase.
pub fn ending(deployment: &Deployment) -> String {
    let release = deployment.release;
    match &deployment.phase {
        Phase::Ended(Outcome::Succeeded { warning }) => {
            let mut text =
                format!("release {release} is live{}{}", in_slot(deployment), receipt::short(&deployment.receipt));
            if let Some(warning) = warning {
                let _ = write!(text, "\nwarning: {warning}");
            }
            text
        }
        Phase::Ended(Outcome::Unchanged { release }) => {
            format!("release {release} is live already, with the same artifacts: nothing was done (--force deploys it)")
        }
        Phase::Ended(Outcome::Failed(Reason { message, .. })) => {
            format!("release {release} failed: {message}\n{}", still_live(deployment))
        }
        Phase::Ended(Outcome::Cancelled(Reason { message, .. })) => {
            format!("release {release} was not deployed: {message}\n{}", still_live(deployment))
        }
        Phase::Ended(Outcome::Reverted(Reason { message, .. })) => {
            format!(
                "release {release} was reverted: {message}\n{}{}",
                still_live(deployment),
                receipt::short(&deployment.receipt)
            )
        }
        phase => format!("deployment {} is {}", deployment.number, phase.name()),
    }
}

fn in_slot(deployment: &Deployment) -> String {
    deployment.slot.map(|slot| format!(" in {slot}")).unwrap_or_default()
}

fn still_live(deployment: &Deployment) -> String {
    match deployment.previous {
        Some(previous) => format!("release {} is live in {}, as before", previous.release, previous.slot),
        None => "nothing is live, as before".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_core::deployment::{Cause, Previous, Receipt, Traffic};
    use gapless_core::{AppKey, Slot, Timestamp};

    fn ended(outcome: Outcome, previous: Option<u64>) -> String {
        let receipt = Receipt {
            cutover_us: Some(1_730),
            old: Traffic { requests: 1_000, failed: 1, ..Traffic::default() },
            new: Traffic { requests: 500, failed: 2, ..Traffic::default() },
            ..Receipt::default()
        };
        ending(&Deployment {
            number: 7,
            key: AppKey::new("shop".parse().unwrap(), "production".parse().unwrap()),
            kind: Kind::Deploy,
            release: 5,
            requested_by: "ada".to_owned(),
            requested_at: Timestamp(0),
            slot: Some(Slot::Green),
            previous: previous.map(|release| Previous { slot: Slot::Blue, release, deployment: 6 }),
            phase: Phase::Ended(outcome),
            phase_since: Timestamp(0),
            passed: Vec::new(),
            abort: None,
            forced: false,
            rollback_path: None,
            canary: None,
            preview_token: String::new(),
            gates: Vec::new(),
            hooks: Vec::new(),
            undo_hooks: Vec::new(),
            approvals: Vec::new(),
            rejection: None,
            receipt,
        })
    }

    #[test]
    fn ending_reports_live_release_and_requests() {
        let reason = |message: &str| Reason::new(Cause::Unhealthy, message);
        let warning = Some("the standby did not stop".to_owned());
        let ends = [
            ended(Outcome::Succeeded { warning: None }, Some(4)),
            ended(Outcome::Succeeded { warning }, None),
            ended(Outcome::Failed(reason("GET /up answered 500")), Some(4)),
            ended(Outcome::Failed(reason("GET /up answered 500")), None),
            ended(Outcome::Cancelled(reason("aborted by ada")), Some(4)),
            ended(Outcome::Reverted(reason("it exited with code 3")), Some(4)),
        ];
        insta::assert_snapshot!(ends.join("\n\n"));
    }
}

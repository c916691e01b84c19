//! A deployment in words.

use super::{local_time, micros};
use gapless_core::deployment::{Deployment, Kind, Outcome, Reason};
use gapless_core::{Millis, Phase};
use std::fmt::Write;

/// Everything about it.
pub fn whole(deployment: &Deployment) -> String {
    let mut text = String::new();
    let kind = match deployment.kind {
        Kind::Deploy => "deploys",
        Kind::Rollback => "goes back to",
    };
    let (number, key, release) = (deployment.number, &deployment.key, deployment.release);
    let _ = writeln!(text, "deployment {number} of {key} {kind} release {release}");
    let _ = writeln!(text, "  asked for by {} at {}", deployment.requested_by, local_time(deployment.requested_at));
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
    for approval in &deployment.approvals {
        let _ = writeln!(text, "  approved by {} at {}", approval.by, local_time(approval.at));
    }
    if !deployment.phase.is_end() {
        let _ = writeln!(text, "  {:<12} since {}", deployment.phase.name(), local_time(deployment.phase_since));
    }
    let _ = writeln!(text, "{}", ending(deployment));
    text
}

/// A phase that is over.
pub fn phase_line(phase: &str, took: Millis) -> String {
    format!("{phase:<12} {took}")
}

/// How it ended, or where it is.
pub fn ending(deployment: &Deployment) -> String {
    let release = deployment.release;
    match &deployment.phase {
        Phase::Ended(Outcome::Succeeded { warning }) => {
            let mut text = format!("release {release} is live{}{}", in_slot(deployment), receipt(deployment));
            if let Some(warning) = warning {
                let _ = write!(text, "\nwarning: {warning}");
            }
            text
        }
        Phase::Ended(Outcome::Failed(Reason { message, .. })) => {
            format!("release {release} failed: {message}\n{}", still_live(deployment))
        }
        Phase::Ended(Outcome::Cancelled(Reason { message, .. })) => {
            format!("release {release} was not deployed: {message}\n{}", still_live(deployment))
        }
        Phase::Ended(Outcome::Reverted(Reason { message, .. })) => {
            format!("release {release} was taken back: {message}\n{}{}", still_live(deployment), receipt(deployment))
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

fn receipt(deployment: &Deployment) -> String {
    let receipt = &deployment.receipt;
    let mut text = String::new();
    if let Some(us) = receipt.cutover_us {
        let _ = write!(text, "; the cutover took {}", micros(us));
    }
    let requests = receipt.old.requests + receipt.new.requests;
    if requests > 0 {
        let failed = receipt.old.failed + receipt.new.failed;
        let _ = write!(text, "; {failed} of {requests} requests failed meanwhile");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_core::deployment::{Cause, Previous, Receipt, Traffic};
    use gapless_core::{AppKey, Slot, Timestamp};

    fn ended(outcome: Outcome, previous: Option<u64>) -> String {
        let receipt = Receipt {
            cutover_us: Some(1_730),
            old: Traffic { requests: 1_000, failed: 1 },
            new: Traffic { requests: 500, failed: 2 },
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
            preview_token: String::new(),
            gates: Vec::new(),
            approvals: Vec::new(),
            rejection: None,
            receipt,
        })
    }

    #[test]
    fn each_end_says_what_is_live_and_what_became_of_the_requests() {
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

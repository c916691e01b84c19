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

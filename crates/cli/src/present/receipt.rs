//! Receipts as text for people.

use super::micros;
use gapless_core::deployment::{Receipt, Traffic};
use gapless_core::judge::{Comparison, Summary};
use std::fmt::Write;

/// The most important figures, to append to the outcome of a deployment.
pub fn short(receipt: &Receipt) -> String {
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

/// All figures, a line each.
pub fn whole(receipt: &Receipt) -> String {
    let mut text = String::new();
    for (name, traffic) in [("old", &receipt.old), ("new", &receipt.new)] {
        if traffic.requests > 0 {
            let _ = writeln!(text, "  {name} release      {}", requests(traffic));
        }
    }
    if let Some(count) = receipt.in_flight_at_cutover {
        let _ = writeln!(text, "  at the cutover   {count} requests in flight at the old release");
    }
    if receipt.held > 0 {
        let longest = micros(receipt.held_longest_us);
        let _ = writeln!(text, "  held             {} requests, the longest {longest}", receipt.held);
    }
    for (name, comparison) in [("canary", &receipt.canary), ("observation", &receipt.observed)] {
        if let Some(comparison) = comparison.as_ref().filter(|comparison| comparison.new.requests > 0) {
            let _ = writeln!(text, "  {name:<16} {}", compared(comparison));
        }
    }
    text
}

fn requests(traffic: &Traffic) -> String {
    let mut text = format!(
        "{} requests, {} failed, {} with a status of 500 or more",
        traffic.requests, traffic.failed, traffic.errors
    );
    let causes = [
        (traffic.retried, "sent again"),
        (traffic.fallen_back, "taken over from the new release"),
        (traffic.refused, "refused"),
        (traffic.reset, "reset"),
        (traffic.timed_out, "timed out"),
    ];
    for (count, what) in causes.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {what}");
    }
    text
}

fn compared(comparison: &Comparison) -> String {
    let verdict = comparison.breach.as_ref().map_or("no problem found", String::as_str);
    let added = added_latency(comparison).map(|added| format!("; {added}")).unwrap_or_default();
    format!("new {}; old {}{added}: {verdict}", summary(&comparison.new), summary(&comparison.old))
}

/// The slowdown of the new release at the median, or its speedup.
fn added_latency(comparison: &Comparison) -> Option<String> {
    let (new, old) = (comparison.new.p50_us, comparison.old.p50_us);
    let (more, sign) = if new >= old { (new - old, '+') } else { (old - new, '-') };
    (new > 0 && old > 0).then(|| format!("added latency {sign}{} at the median", micros(more)))
}

fn summary(seen: &Summary) -> String {
    let mut text = format!("{} of {} failed", seen.errors, seen.requests);
    if seen.p50_us > 0 {
        let (p50, p95, p99) = (micros(seen.p50_us), micros(seen.p95_us), micros(seen.p99_us));
        let _ = write!(text, ", p50 {p50}, p95 {p95}, p99 {p99}");
    }
    text
}

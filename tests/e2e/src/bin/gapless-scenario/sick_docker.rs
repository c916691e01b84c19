//! A sick Docker Engine: each of its calls with each fault, and the Engine itself killed, full, and without its firewall.

use clap::Args;
use gapless_e2e::sick::cases::{self, Selection};
use serde_json::{Value, json};

/// What the scenario of a sick Engine is told.
#[derive(Args)]
pub struct SickOptions {
    /// Of a sick Docker: only calls that have this in them, such as `/containers/*/stop`
    #[arg(long, default_value = "")]
    calls: String,
    /// Of a sick Docker: how many rounds of faults by chance
    #[arg(long, default_value_t = 20)]
    chance: u64,
}

pub fn run(options: &SickOptions, faults: &[String], seed: u64) -> Value {
    let selection =
        Selection { calls: options.calls.clone(), faults: faults.to_vec(), rounds: options.chance, seed };
    let outcome = cases::run(&selection, &mut |line| eprintln!("{line}"));
    json!({
        "cases": outcome.cases,
        "faults": outcome.faults,
        "calls": outcome.calls,
        "requests": outcome.requests,
        "failed": outcome.failed.len(),
        "failures": outcome.failed,
        "false_reverts": outcome.false_reverts.len(),
        "reverted": outcome.false_reverts,
        "wrong_stops": outcome.wrong_stops.len(),
        "stopped": outcome.wrong_stops,
        "violations": outcome.violations.len(),
        "violated": outcome.violations,
        "ends": outcome.ends,
        "reasons": outcome.reasons,
        "slowest_s": outcome.slowest.0,
        "slowest": outcome.slowest.1,
        "seed": seed,
    })
}

//! The subcommand `sick-docker`.

use super::cases::{self, CallsReport, Selection};
use super::deaths::{self, DeathsReport, Episode};
use clap::Args;
use gapless_harness::Outcome;
use serde_json::json;

/// The options of `sick-docker`.
#[derive(Args)]
pub struct Options {
    /// Only calls whose name contains this, such as `/containers/*/stop`
    #[arg(long, default_value = "")]
    calls: String,
    /// Only these faults (404, half+, ...); `+` marks a fault that lasts
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// The number of rounds with random faults
    #[arg(long, default_value_t = 20)]
    chance: u64,
    /// `deaths` or `calls`: only that part
    #[arg(long, default_value = "all")]
    part: String,
    /// Only deaths whose name contains this
    #[arg(long, default_value = "")]
    death: String,
    /// The seed of the random faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs each call with each fault, and each death of the Engine.
#[must_use]
pub fn scenario(options: &Options) -> Outcome {
    let mut log_line = |line: &str| eprintln!("{line}");
    let seed = options.seed;
    let calls =
        Selection { calls: options.calls.clone(), faults: options.faults.clone(), rounds: options.chance, seed };
    let calls = if options.part == "deaths" { CallsReport::default() } else { cases::run(&calls, &mut log_line) };
    let is_wanted = |episode: &Episode| format!("{episode:?}").contains(&options.death);
    let episodes: Vec<_> = Episode::ALL.into_iter().filter(is_wanted).collect();
    let deaths = if options.part == "calls" { DeathsReport::default() } else { deaths::run(&episodes, &mut log_line) };
    let both = |calls: Vec<String>, deaths: Vec<String>| -> Vec<String> { calls.into_iter().chain(deaths).collect() };
    let failed = both(calls.failed, deaths.failed);
    let false_reverts = both(calls.false_reverts, deaths.false_reverts);
    let wrong = both(calls.violations, deaths.violations);
    let figures = json!({
        "cases": calls.cases + deaths.episodes,
        "faults": calls.faults,
        "requests": calls.requests + deaths.requests,
        "failed": failed.len(),
        "false_reverts": false_reverts.len(),
        "wrong_stops": calls.wrong_stops.len(),
        "wrong_answers": deaths.wrong_answers.len(),
        "excused": deaths.excused,
        "ends": calls.ends,
        "calls": calls.calls,
        "slowest_s": calls.slowest.0,
        "slowest": calls.slowest.1,
        "recovered_s": deaths.recovered_s,
        "moved": deaths.moved,
        "reasons": calls.reasons,
        "seed": seed,
    });
    let kinds = [
        ("lost request", failed),
        ("false revert", false_reverts),
        ("wrong stop", calls.wrong_stops),
        ("wrong answer", deaths.wrong_answers),
    ];
    let named = kinds.into_iter().flat_map(|(kind, all)| all.into_iter().map(move |what| format!("{kind}: {what}")));
    Outcome { figures, violations: wrong.into_iter().chain(named).collect() }
}

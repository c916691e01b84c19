//! A sick Docker Engine: each of its calls with each fault, and the Engine itself killed, full, and without its firewall.

use clap::Args;
use gapless_e2e::sick::cases::{self, Selection};
use gapless_e2e::sick::deaths::{self, Episode};
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
    /// Of a sick Docker: only its deaths (or `calls`, only the calls)
    #[arg(long, default_value = "all")]
    part: String,
    /// Of the deaths of a sick Docker: only those that have this in their names
    #[arg(long, default_value = "")]
    death: String,
}

pub fn run(options: &SickOptions, faults: &[String], seed: u64) -> Value {
    let mut tell = |line: &str| eprintln!("{line}");
    let calls = Selection { calls: options.calls.clone(), faults: faults.to_vec(), rounds: options.chance, seed };
    let calls = if options.part == "deaths" { Default::default() } else { cases::run(&calls, &mut tell) };
    let is_wanted = |episode: &Episode| format!("{episode:?}").contains(&options.death);
    let episodes: Vec<_> = Episode::ALL.into_iter().filter(is_wanted).collect();
    let deaths = if options.part == "calls" { Default::default() } else { deaths::run(&episodes, &mut tell) };
    let both = |calls: Vec<String>, deaths: Vec<String>| -> Vec<String> { calls.into_iter().chain(deaths).collect() };
    let failed = both(calls.failed, deaths.failed);
    let false_reverts = both(calls.false_reverts, deaths.false_reverts);
    let violations = both(calls.violations, deaths.violations);
    json!({
        "cases": calls.cases + deaths.episodes,
        "faults": calls.faults,
        "requests": calls.requests + deaths.requests,
        "failed": failed.len(),
        "false_reverts": false_reverts.len(),
        "wrong_stops": calls.wrong_stops.len(),
        "wrong_answers": deaths.wrong_answers.len(),
        "violations": violations.len(),
        "excused": deaths.excused,
        "ends": calls.ends,
        "calls": calls.calls,
        "slowest_s": calls.slowest.0,
        "slowest": calls.slowest.1,
        "recovered_s": deaths.recovered_s,
        "moved": deaths.moved,
        "reasons": calls.reasons,
        "told": {
            "failed": failed,
            "false_reverts": false_reverts,
            "wrong_stops": calls.wrong_stops,
            "wrong_answers": deaths.wrong_answers.iter().take(20).collect::<Vec<_>>(),
            "violations": violations,
        },
        "seed": seed,
    })
}

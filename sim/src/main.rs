//! `cargo run -p gapless-sim -- --seed N`: the story of one seed; `--seeds A..B`: many; `--judge COUNT`: how often the
//! judge of releases is wrong.

use std::process::ExitCode;

const USAGE: &str = "usage: gapless-sim --seed N | --seeds A..B | --judge COUNT";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--seed", seed] => seed.parse().map_or_else(|_| usage(), tell),
        ["--seeds", range] => {
            let bounds = range.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            bounds.map_or_else(usage, |(from, to)| run_many(from, to))
        }
        ["--judge", count] => count.parse().map_or_else(|_| usage(), judge),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn tell(seed: u64) -> ExitCode {
    match gapless_sim::run(seed) {
        Ok(outcome) => {
            outcome.story.iter().for_each(|line| println!("{line}"));
            println!("seed {seed}: {} requests, {} deployments", outcome.requests, outcome.deployments);
            outcome.violations.iter().for_each(|violation| println!("VIOLATION: {violation}"));
            if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the simulation cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How often releases are taken back, of each kind.
fn judge(count: u64) -> ExitCode {
    println!("{:<36} {:>9} {:>11} {:>8} {:>20}", "rollouts", "count", "taken back", "%", "after requests (mean)");
    for kind in gapless_sim::kinds() {
        let verdicts = gapless_sim::judge(&kind, 0..count);
        let percent = 100.0 * verdicts.taken_back as f64 / verdicts.rollouts as f64;
        let after =
            verdicts.requests.checked_div(verdicts.taken_back).map_or("–".to_owned(), |mean| mean.to_string());
        println!("{:<36} {:>9} {:>11} {percent:>8.2} {after:>20}", kind.name, verdicts.rollouts, verdicts.taken_back);
    }
    ExitCode::SUCCESS
}

fn run_many(from: u64, to: u64) -> ExitCode {
    let began = std::time::Instant::now();
    match gapless_sim::run_many(from..to) {
        Ok(summary) => {
            summary.failed.iter().for_each(|(seed, violation)| println!("seed {seed}: {violation}"));
            let (count, failed, seconds) =
                (to.saturating_sub(from), summary.failed.len(), began.elapsed().as_secs_f64());
            let gapless_sim::Summary { requests, deployments, .. } = summary;
            println!("{count} seeds, {failed} failed, {deployments} deployments, {requests} requests, {seconds:.1} s");
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the simulation cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

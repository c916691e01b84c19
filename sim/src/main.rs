//! The command-line interface of the simulator: many seeds, the timeline of one, planted bugs, or the judge of
//! releases. `./scripts/sim` builds and runs it.

use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim --seeds COUNT [--seed FIRST] [--json] | --seed SEED [--json] | --planted [BUG] [--seeds MOST] [--json] | --judge COUNT";

/// The largest number of seeds to run for a planted bug.
#[cfg(feature = "planted-bugs")]
const SEEDS_FOR_A_BUG: u64 = 20_000;

/// The arguments.
#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    seeds: Option<u64>,
    judge: Option<u64>,
    planted: Option<Option<String>>,
    is_json: bool,
}

impl Arguments {
    fn parse(args: impl Iterator<Item = String>) -> Option<Arguments> {
        let mut arguments = Arguments::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seed" => arguments.seed = Some(args.next()?.parse().ok()?),
                "--seeds" => arguments.seeds = Some(args.next()?.parse().ok()?),
                "--judge" => arguments.judge = Some(args.next()?.parse().ok()?),
                "--planted" => arguments.planted = Some(args.next_if(|next| !next.starts_with('-'))),
                "--json" => arguments.is_json = true,
                _ => return None,
            }
        }
        Some(arguments)
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse(std::env::args().skip(1)) {
        Some(arguments) if arguments.planted.is_some() => planted(&arguments),
        Some(Arguments { judge: Some(count), .. }) => {
            judge(count);
            Ok(true)
        }
        Some(Arguments { seeds: Some(count), seed, is_json, .. }) => many(seed.unwrap_or(0), count, is_json),
        Some(Arguments { seed: Some(seed), is_json, .. }) => one(seed, is_json),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the simulation cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed and prints its timeline.
fn one(seed: u64, is_json: bool) -> std::io::Result<bool> {
    let began = Instant::now();
    let outcome = gapless_sim::run(seed)?;
    let seconds = began.elapsed().as_secs_f64();
    if is_json {
        let violations = outcome.violations.len();
        let (requests, deployments) = (outcome.requests, outcome.deployments);
        figures(&serde_json::json!({
            "seeds": 1, "violations": violations, "seconds": seconds, "requests": requests, "deployments": deployments,
            "failed": [{ "seed": seed, "violations": outcome.violations }],
        }));
    } else {
        outcome.timeline.iter().for_each(|line| println!("{line}"));
        println!("\nseed {seed}: {} requests, {} deployments", outcome.requests, outcome.deployments);
        outcome.violations.iter().for_each(|violation| println!("VIOLATION: {violation}"));
    }
    Ok(outcome.violations.is_empty())
}

/// Runs many seeds, and prints the timeline of the first that fails.
fn many(first: u64, count: u64, is_json: bool) -> std::io::Result<bool> {
    let began = Instant::now();
    let gapless_sim::Summary { failed, seeds, requests, deployments } =
        gapless_sim::run_many(first..first.saturating_add(count))?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some((seed, _)) = failed.first() {
        gapless_sim::run(*seed)?.timeline.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("\nthe timeline above is of seed {seed}");
    }
    for (seed, violation) in &failed {
        eprintln!("seed {seed}: {violation}; replay it: ./scripts/sim --seed {seed}");
    }
    let violations = failed.len();
    if is_json {
        let failed: Vec<_> =
            failed.iter().map(|(seed, what)| serde_json::json!({ "seed": seed, "what": what })).collect();
        figures(&serde_json::json!({
            "seeds": seeds, "violations": violations, "seconds": seconds, "requests": requests,
            "deployments": deployments, "failed": failed,
        }));
    } else {
        println!("{seeds} seeds, {violations} failed, {deployments} deployments, {requests} requests, {seconds:.1} s");
    }
    Ok(failed.is_empty())
}

fn figures(figures: &serde_json::Value) {
    println!("{figures}");
}

/// Prints the number of seeds that find each planted bug.
#[cfg(feature = "planted-bugs")]
fn planted(arguments: &Arguments) -> std::io::Result<bool> {
    let began = Instant::now();
    let most = arguments.seeds.unwrap_or(SEEDS_FOR_A_BUG);
    let all = gapless_sim::find(arguments.planted.as_ref().and_then(Option::as_deref), most)?;
    let missed = all.iter().filter(|found| found.found.is_none()).count();
    if arguments.is_json {
        let bugs = all.iter().map(|it| match &it.found {
            Some((seeds, what)) => serde_json::json!({ "bug": it.bug, "seeds": seeds, "violation": what }),
            None => serde_json::json!({ "bug": it.bug, "seeds": null, "violation": null }),
        });
        let bugs: Vec<_> = bugs.collect();
        let seconds = began.elapsed().as_secs_f64();
        figures(&serde_json::json!({ "planted": all.len(), "missed": missed, "seconds": seconds, "bugs": bugs }));
    } else {
        println!("| planted bug | found within seeds | what it broke |\n| --- | ---: | --- |");
        for it in &all {
            match &it.found {
                Some((seeds, what)) => println!("| {} | {seeds} | {what} |", it.bug),
                None => println!("| {} | not within {most} | |", it.bug),
            }
        }
    }
    Ok(missed == 0 && !all.is_empty())
}

#[cfg(not(feature = "planted-bugs"))]
fn planted(_: &Arguments) -> std::io::Result<bool> {
    Err(std::io::Error::other(
        "this build has no planted bugs; run `./scripts/sim --planted`, which builds with the feature planted-bugs",
    ))
}

/// Prints the share of reverted rollouts of each kind.
fn judge(count: u64) {
    println!("{:<36} {:>9} {:>11} {:>8} {:>20}", "rollouts", "count", "reverted", "%", "after requests (mean)");
    for kind in gapless_sim::kinds() {
        let verdicts = gapless_sim::judge(&kind, 0..count);
        let percent = 100.0 * verdicts.reverted as f64 / verdicts.rollouts as f64;
        let after = verdicts.requests.checked_div(verdicts.reverted).map_or("–".to_owned(), |mean| mean.to_string());
        println!("{:<36} {:>9} {:>11} {percent:>8.2} {after:>20}", kind.name, verdicts.rollouts, verdicts.reverted);
    }
}

//! The simulator as a program: many seeds, the story of one, planted bugs, or the judge of releases. `./scripts/sim`
//! builds and runs it.

use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim --seeds COUNT [--seed FIRST] [--json] | --seed SEED [--json] | --planted [BUG] [--seeds MOST] [--json] | --judge COUNT";

/// How many seeds a planted bug is looked for in.
#[cfg(feature = "planted-bugs")]
const SEEDS_FOR_A_BUG: u64 = 20_000;

/// What is asked for.
#[derive(Default)]
struct Asked {
    seed: Option<u64>,
    seeds: Option<u64>,
    judge: Option<u64>,
    planted: Option<Option<String>>,
    is_json: bool,
}

impl Asked {
    fn parse(args: impl Iterator<Item = String>) -> Option<Asked> {
        let mut asked = Asked::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seed" => asked.seed = Some(args.next()?.parse().ok()?),
                "--seeds" => asked.seeds = Some(args.next()?.parse().ok()?),
                "--judge" => asked.judge = Some(args.next()?.parse().ok()?),
                "--planted" => asked.planted = Some(args.next_if(|next| !next.starts_with('-'))),
                "--json" => asked.is_json = true,
                _ => return None,
            }
        }
        Some(asked)
    }
}

fn main() -> ExitCode {
    let done = match Asked::parse(std::env::args().skip(1)) {
        Some(asked) if asked.planted.is_some() => planted(&asked),
        Some(Asked { judge: Some(count), .. }) => {
            judge(count);
            Ok(true)
        }
        Some(Asked { seeds: Some(count), seed, is_json, .. }) => many(seed.unwrap_or(0), count, is_json),
        Some(Asked { seed: Some(seed), is_json, .. }) => one(seed, is_json),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the simulation cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The story of one seed.
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
        outcome.story.iter().for_each(|line| println!("{line}"));
        println!("\nseed {seed}: {} requests, {} deployments", outcome.requests, outcome.deployments);
        outcome.violations.iter().for_each(|violation| println!("VIOLATION: {violation}"));
    }
    Ok(outcome.violations.is_empty())
}

/// Many seeds; of those that fail the first one's story.
fn many(first: u64, count: u64, is_json: bool) -> std::io::Result<bool> {
    let began = Instant::now();
    let gapless_sim::Summary { failed, seeds, requests, deployments } =
        gapless_sim::run_many(first..first.saturating_add(count))?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some((seed, _)) = failed.first() {
        gapless_sim::run(*seed)?.story.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("\nthis was seed {seed}");
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

/// In how many seeds planted bugs are found.
#[cfg(feature = "planted-bugs")]
fn planted(asked: &Asked) -> std::io::Result<bool> {
    let began = Instant::now();
    let most = asked.seeds.unwrap_or(SEEDS_FOR_A_BUG);
    let all = gapless_sim::find(asked.planted.as_ref().and_then(Option::as_deref), most)?;
    let missed = all.iter().filter(|found| found.found.is_none()).count();
    if asked.is_json {
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
fn planted(_: &Asked) -> std::io::Result<bool> {
    Err(std::io::Error::other(
        "bugs can be planted in a build with the feature planted-bugs only: ./scripts/sim --planted",
    ))
}

/// How often releases are taken back, of each kind.
fn judge(count: u64) {
    println!("{:<36} {:>9} {:>11} {:>8} {:>20}", "rollouts", "count", "taken back", "%", "after requests (mean)");
    for kind in gapless_sim::kinds() {
        let verdicts = gapless_sim::judge(&kind, 0..count);
        let percent = 100.0 * verdicts.taken_back as f64 / verdicts.rollouts as f64;
        let after =
            verdicts.requests.checked_div(verdicts.taken_back).map_or("–".to_owned(), |mean| mean.to_string());
        println!("{:<36} {:>9} {:>11} {percent:>8.2} {after:>20}", kind.name, verdicts.rollouts, verdicts.taken_back);
    }
}

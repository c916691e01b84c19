//! `cargo run -p gapless-sim -- --seed N`: the story of one seed; `--seeds A..B`: many.

use std::process::ExitCode;

const USAGE: &str = "usage: gapless-sim --seed N | --seeds A..B";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--seed", seed] => seed.parse().map_or_else(|_| usage(), tell),
        ["--seeds", range] => {
            let bounds = range.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            bounds.map_or_else(usage, |(from, to)| run_many(from, to))
        }
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

fn run_many(from: u64, to: u64) -> ExitCode {
    let began = std::time::Instant::now();
    let (mut failed, mut requests, mut deployments) = (0_u64, 0, 0);
    for seed in from..to {
        match gapless_sim::run(seed) {
            Ok(outcome) => {
                requests += outcome.requests;
                deployments += outcome.deployments;
                if let Some(violation) = outcome.violations.first() {
                    failed += 1;
                    println!("seed {seed}: {violation}");
                }
            }
            Err(error) => {
                eprintln!("the simulation cannot be run: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} seeds, {failed} failed, {deployments} deployments, {requests} requests, {seconds:.1} s", to - from);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

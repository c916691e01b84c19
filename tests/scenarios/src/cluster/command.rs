//! The subcommand `cluster`: three etcd members and three servers under faults, run after run.

use super::{Network, RunReport, Settings, remove_own, run};
use clap::Args;
use gapless_harness::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const SETTINGS: Settings = Settings { rounds: 3, rate_per_s: 100, recovery_max: Duration::from_secs(10) };

/// The options of `cluster`.
#[derive(Args)]
pub struct Options {
    /// The number of runs
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// The seed of the first run; each further run has the next seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the timeline of each run, not only of a run with violations
    #[arg(long)]
    story: bool,
}

/// Runs the cluster under faults, seed after seed.
#[must_use]
pub fn scenario(options: &Options) -> Outcome {
    let folder = folder();
    remove_on_signal(folder.clone());
    let network = Network::new();
    // In a thread of its own: the thread stays in the servers' namespace, whose processes are killed at the end.
    let reports = std::thread::scope(|scope| {
        let all = scope.spawn(|| {
            network.enter();
            (options.seed..options.seed + options.runs)
                .map(|seed| one(&network, &folder, seed, options.story))
                .collect::<Vec<_>>()
        });
        all.join().expect("each run catches its own panics")
    });
    drop(network);
    let _ = std::fs::remove_dir(&folder);
    let violations = reports
        .iter()
        .flat_map(|report| report.violations.iter().map(move |violation| format!("seed {}: {violation}", report.seed)));
    Outcome { figures: figures(&reports), violations: violations.collect() }
}

/// Runs one seed; its folder is kept after a violation.
fn one(network: &Network, folder: &Path, seed: u64, prints_story: bool) -> RunReport {
    let own = folder.join(format!("seed-{seed}"));
    std::fs::create_dir_all(&own).expect("the folder can be created");
    let report = catch_unwind(AssertUnwindSafe(|| run(network, &own, seed, SETTINGS))).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
        RunReport { seed, violations: vec![why.to_owned()], ..RunReport::default() }
    });
    eprintln!(
        "seed {seed}: {} requests, {} failed; {:?}; {:?}; recovered after {:.1?} s; {}",
        report.requests,
        report.failed,
        report.ended,
        report.faults,
        report.recovery_s,
        if report.violations.is_empty() { "well" } else { "VIOLATED" }
    );
    let is_well = report.violations.is_empty();
    if is_well {
        let _ = std::fs::remove_dir_all(&own);
    }
    if is_well && !prints_story {
        return report;
    }
    for (title, lines) in
        [("violations", &report.violations), ("timeline", &report.timeline), ("history", &report.history)]
    {
        eprintln!("seed {seed}, {title}:");
        for line in lines {
            eprintln!("    {line}");
        }
    }
    if !is_well {
        eprintln!("seed {seed}: logs are in {}; repeat with --seed {seed} --runs 1", own.display());
    }
    report
}

fn figures(reports: &[RunReport]) -> Value {
    let sum = |count: fn(&RunReport) -> u64| reports.iter().map(count).sum::<u64>();
    let max = |times: fn(&RunReport) -> &[f64]| {
        let longest = reports.iter().flat_map(times).copied().fold(0.0, f64::max);
        (longest * 100.0).round() / 100.0
    };
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ended: BTreeMap<&str, u64> = BTreeMap::new();
    for report in reports {
        report.faults.iter().for_each(|(kind, count)| *faults.entry(kind).or_default() += count);
        report.ended.iter().for_each(|(end, count)| *ended.entry(end).or_default() += count);
    }
    json!({
        "runs": reports.len(),
        "violated_seeds": reports.iter().filter(|report| !report.violations.is_empty()).map(|report| report.seed).collect::<Vec<_>>(),
        "requests": sum(|report| report.requests),
        "failed": sum(|report| report.failed),
        "double_live": sum(|report| report.double_live),
        "unfenced": sum(|report| report.unfenced),
        "live_changes": sum(|report| report.live_changes),
        "live_changes_unanswered": sum(|report| report.unanswered),
        "deploys": ended.get("deploy succeeded").copied().unwrap_or(0),
        "rollbacks": ended.get("rollback succeeded").copied().unwrap_or(0),
        "ended": ended,
        "faults": faults,
        "leaders_followed": sum(|report| report.leaders_followed),
        "takeovers_measured": sum(|report| report.takeovers_s.len() as u64),
        "takeover_s_max": max(|report| &report.takeovers_s),
        "leader_s_max": max(|report| &report.leader_s),
        "refused_while_recovering": sum(|report| report.refused),
        "recovery_s_max": max(|report| &report.recovery_s),
    })
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("gapless-cluster-{}", std::process::id()))
}

/// Removes everything on Ctrl-C, SIGTERM and SIGHUP.
fn remove_on_signal(folder: PathBuf) {
    std::thread::spawn(move || {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        tokio.block_on(async {
            let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
                .map(|kind| signal(kind).expect("a signal can be waited for"));
            let [interrupt, terminate, hangup] = &mut signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        remove_own();
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(130);
    });
}

//! The subcommands `crash-matrix` and `kills`.

use super::{kills, matrix, systemd};
use clap::{Args, ValueEnum};
use gapless_harness::{Outcome, Runtime};
use serde_json::json;
use std::time::Duration;

/// The options of `crash-matrix`.
#[derive(Args)]
pub struct MatrixOptions {
    /// Only these points, such as `store.*`
    #[arg(long, value_delimiter = ',', default_value = "*")]
    points: Vec<String>,
    /// The runtime of the application
    #[arg(long, value_enum, default_value = "process")]
    runtime: Kind,
    /// The data plane
    #[arg(long, value_enum, default_value = "proxy")]
    data_plane: Plane,
    /// The store of the records
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Only these faults: kill, error, hang
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// How many visits of a place by one deployment get a fault, from the first visit on
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// In each story (deployment, rollback, restart, ...) that reaches a place, not in the first story alone
    #[arg(long)]
    each_story: bool,
}

/// The options of `kills`.
#[derive(Args)]
pub struct KillsOptions {
    /// The maximum number of rounds
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// No round starts after this many minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The seed of the first host; the second host has the next seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Process,
    Docker,
    /// On a host booted by systemd; only the failpoints of the systemd runtime.
    Systemd,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Plane {
    Proxy,
    Nginx,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Etcd,
}

/// Runs the selected part of the crash matrix.
#[must_use]
pub fn matrix_scenario(options: &MatrixOptions) -> Outcome {
    let runtime = if matches!(options.runtime, Kind::Docker) { Runtime::Docker } else { Runtime::Process };
    let selection = matrix::Selection {
        runtime,
        is_behind_nginx: options.data_plane == Plane::Nginx,
        is_on_etcd: options.store == Store::Etcd,
        points: options.points.clone(),
        faults: options.faults.clone(),
        times: options.times,
        is_in_each_story: options.each_story,
    };
    let run = if matches!(options.runtime, Kind::Systemd) { systemd::run } else { matrix::run };
    let report = run(&selection, &mut |line| eprintln!("{line}"));
    let figures = json!({
        "points": report.points,
        "places": report.places,
        "faults": report.faults,
        "by_fault": report.by_fault,
        "requests": report.requests,
        "failed": report.failed.len(),
        "failures": report.failed,
        "excused": report.excused,
        "unreached": report.unreached,
    });
    let lost = report.failed.into_iter().map(|failure| format!("lost request: {failure}"));
    Outcome { figures, violations: report.violations.into_iter().chain(lost).collect() }
}

/// Kills at random.
#[must_use]
pub fn kills_scenario(options: &KillsOptions) -> Outcome {
    let within = Duration::from_secs(60 * options.minutes);
    let report = kills::run(kills::Settings { rounds: options.rounds, within, seed: options.seed }, &|line| {
        eprintln!("{line}");
    });
    let figures = json!({
        "rounds": report.rounds,
        "repairs": report.repairs,
        "wrong": report.wrong,
        "requests": report.requests,
        "failed": report.failed.len(),
        "failures": report.failed,
        "excused": report.excused,
        "killed": report.killed,
        "done": report.done,
        "seed": options.seed,
    });
    let lost = report.failed.into_iter().map(|failure| format!("lost request: {failure}"));
    Outcome { figures, violations: report.wrong.into_iter().chain(lost).collect() }
}

//! The crash matrix and random kills, as much of them as is asked for.

use clap::{Args, ValueEnum};
use gapless_e2e::Runtime;
use gapless_e2e::crash::{booted, kills, matrix};
use serde_json::{Value, json};
use std::time::Duration;

/// What the scenarios of crashes are told.
#[derive(Args)]
pub struct CrashOptions {
    /// Of the crash matrix: only these points, such as `store.*`
    #[arg(long, value_delimiter = ',', default_value = "*")]
    points: Vec<String>,
    /// Of the crash matrix: what runs the application
    #[arg(long, value_enum, default_value = "process")]
    runtime: Kind,
    /// Of the crash matrix: what the data plane is
    #[arg(long, value_enum, default_value = "proxy")]
    data_plane: Plane,
    /// Of the crash matrix: what has the records
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Of the crash matrix: only these faults (kill, error, hang); of a sick Docker, too (404, half+, ...)
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Of the crash matrix: so many of the times that a deployment comes to a place, from the first on
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Of the crash matrix: in each story (deployment, rollback, restart, ...) that comes to a place, not in the first alone
    #[arg(long)]
    each_story: bool,
    /// Of random kills: how many rounds at most
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Of random kills and of the soak: no round begins after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
}

impl CrashOptions {
    /// For how many minutes it goes on.
    pub fn minutes(&self, unless_told: u64) -> u64 {
        self.minutes.unwrap_or(unless_told)
    }

    /// Which faults alone.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Process,
    Docker,
    /// On a host that it has booted; the places that only it has.
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

pub fn matrix(options: &CrashOptions) -> Value {
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
    let run = if matches!(options.runtime, Kind::Systemd) { booted::run } else { matrix::run };
    let outcome = run(&selection, &mut |line| eprintln!("{line}"));
    json!({
        "points": outcome.points,
        "places": outcome.places,
        "faults": outcome.faults,
        "by_fault": outcome.by_fault,
        "violations": outcome.violations.len(),
        "violated": outcome.violations,
        "requests": outcome.requests,
        "failed": outcome.failed.len(),
        "failures": outcome.failed,
        "excused": outcome.excused,
        "unreached": outcome.unreached,
    })
}

pub fn kills(options: &CrashOptions, seed: u64) -> Value {
    let settings =
        kills::Settings { rounds: options.rounds, within: Duration::from_secs(60 * options.minutes(60)), seed };
    let outcome = kills::run(settings, &|line| eprintln!("{line}"));
    json!({
        "rounds": outcome.rounds,
        "repairs": outcome.repairs,
        "wrong": outcome.wrong,
        "requests": outcome.requests,
        "failed": outcome.failed.len(),
        "failures": outcome.failed,
        "excused": outcome.excused,
        "killed": outcome.killed,
        "done": outcome.done,
        "seed": seed,
    })
}

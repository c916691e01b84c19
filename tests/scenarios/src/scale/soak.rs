//! Deployments of all kinds under load for a long time, and a check for growth.

use clap::Args;
use gapless_api::{ApplicationView, SlotState};
use gapless_harness::deps::docker::docker;
use gapless_harness::{App, Gapless, Host, Load, Outcome, Runtime, Usage, files_below, wait_for};
use gapless_ledger::{LoadPlan, Report};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const RATE_PER_S: u32 = 150;
/// Rounds before the measurement: they fill pools and pages, and record five hundred deployments of each application
/// (two in each round), the maximum that is kept.
const ROUNDS_BEFORE: u64 = 250;
/// The maximum time until everything is idle after a round.
const REST_DEADLINE: Duration = Duration::from_secs(60);
/// The number of rounds between bad releases, and between stops.
const BAD_RELEASE_EVERY: u64 = 5;
const STOP_EVERY: u64 = 7;
/// The allowed growth of the memory of server and proxy from the first to the last third, in per cent.
const MEMORY_GROWTH_MAX_PERCENT: f64 = 5.0;
const DOCKER: &str = "soak-docker";
const PROCESS: &str = "soak-process";

/// The usage at the end of a round, when everything is idle.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// The time since the start of the measurement, in seconds.
    pub at_s: u64,
    /// The server.
    pub server: Usage,
    /// The proxy.
    pub proxy: Usage,
    /// Containers of gapless.
    pub containers: u64,
    /// Networks of gapless.
    pub networks: u64,
    /// Files in the server's folder.
    pub files: u64,
}

/// The result.
#[derive(Debug, Default)]
pub struct SoakReport {
    /// Measured rounds.
    pub rounds: u64,
    /// The number of operations by kind.
    pub done: BTreeMap<&'static str, u64>,
    /// A sample of each measured round.
    pub samples: Vec<Sample>,
    /// Requests of both applications, including those before the measurement.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// Some of the failures.
    pub failures: Vec<String>,
}

impl SoakReport {
    /// The growth of the median memory of a process from the first to the last third, in per cent.
    #[must_use]
    pub fn memory_growth_percent(&self, of: impl Fn(&Sample) -> Usage) -> f64 {
        let median = |samples: &[Sample]| {
            let mut all: Vec<u64> = samples.iter().map(|sample| of(sample).memory_kib).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default() as f64
        };
        let (first, last) = self.thirds();
        100.0 * (median(last) / median(first).max(1.0) - 1.0)
    }

    /// The growth of the maximum of a figure from the first to the last third.
    #[must_use]
    pub fn growth(&self, of: impl Fn(&Sample) -> u64) -> i64 {
        let most = |samples: &[Sample]| samples.iter().map(&of).max().unwrap_or_default();
        let (first, last) = self.thirds();
        most(last).cast_signed() - most(first).cast_signed()
    }

    fn thirds(&self) -> (&[Sample], &[Sample]) {
        let third = self.samples.len() / 3;
        (&self.samples[..third], &self.samples[2 * third..])
    }
}

/// The options of `soak`.
#[derive(Args)]
pub struct Options {
    /// No round starts after this many minutes
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// Deployments under load for a long time.
#[must_use]
pub fn scenario(options: &Options) -> Outcome {
    let report = run(Duration::from_secs(60 * options.minutes), &mut |line| eprintln!("{line}"));
    let last = report.samples.last().copied().unwrap_or_default();
    let grown = |of: fn(&Sample) -> u64| report.growth(of);
    let server = report.memory_growth_percent(|sample| sample.server);
    let proxy = report.memory_growth_percent(|sample| sample.proxy);
    let figures = json!({
        "minutes": last.at_s / 60,
        "rounds": report.rounds,
        "done": report.done,
        "requests": report.requests,
        "failed": report.failed,
        "failures": report.failures,
        "memory_growth_percent": { "server": server, "proxy": proxy },
        "memory_kib": { "server": last.server.memory_kib, "proxy": last.proxy.memory_kib },
        "growth": {
            "open_files_server": grown(|sample| sample.server.open_files),
            "open_files_proxy": grown(|sample| sample.proxy.open_files),
            "containers": grown(|sample| sample.containers),
            "networks": grown(|sample| sample.networks),
            "files": grown(|sample| sample.files),
        },
    });
    let mut violations = Vec::new();
    if report.failed > 0 {
        violations.push(format!("{} lost requests: {:?}", report.failed, report.failures));
    }
    for (process, growth) in [("server", server), ("proxy", proxy)] {
        if growth > MEMORY_GROWTH_MAX_PERCENT {
            violations.push(format!("the memory of the {process} grew by {growth:.1} %"));
        }
    }
    Outcome { figures, violations }
}

/// Runs for this time, after the rounds before the measurement.
#[must_use]
pub fn run(lasting: Duration, log_line: &mut dyn FnMut(&str)) -> SoakReport {
    let host = Host::start();
    let apps = [DOCKER, PROCESS].map(|name| deployed(&host, name));
    let loads = [DOCKER, PROCESS].map(|name| {
        let host_name = format!("{name}.test");
        Load::start(LoadPlan { rate_per_s: RATE_PER_S, host: host_name, ..LoadPlan::new(host.address()) })
    });
    // This application has no load, since its requests could not be answered while it is stopped.
    let (aside, _) = deployed(&host, "soak-aside");
    let mut outcome = SoakReport::default();
    let one = |outcome: &mut SoakReport| {
        outcome.rounds += 1;
        for (gapless, app) in &apps {
            round(gapless, app, &host, outcome);
        }
        if outcome.rounds.is_multiple_of(STOP_EVERY) {
            ["stop", "start"].iter().for_each(|command| drop(aside.ok([*command])));
            *outcome.done.entry("stops").or_default() += 1;
        }
        wait_for("everything is idle", REST_DEADLINE, || rests(&host.gapless()).then_some(()));
    };
    let mut before = SoakReport::default();
    while before.rounds < ROUNDS_BEFORE {
        one(&mut before);
        log_line(&format!("round {} before the measurement: {:?}", before.rounds, sample(&host, Duration::ZERO)));
    }
    let began = Instant::now();
    while began.elapsed() < lasting {
        one(&mut outcome);
        let sample = sample(&host, began.elapsed());
        log_line(&format!("round {}: {sample:?}", outcome.rounds));
        outcome.samples.push(sample);
    }
    for load in loads {
        let Report { requests, failed, failures, .. } = load.stop();
        outcome.requests += requests;
        outcome.failed += failed;
        outcome.failures.extend(failures.iter().map(|failure| format!("{failure:?}")));
    }
    outcome
}

fn deployed(host: &Host, name: &str) -> (Gapless, App) {
    let app = App {
        replicas: 2,
        hosts: vec![format!("{name}.test")],
        deploy: "observe = \"300ms\"\nkeep_warm = \"2s\"\n".to_owned(),
        tables: "[health]\ndeadline = \"1s\"\ninterval = \"50ms\"\n".to_owned(),
        ..App::new(name, if name == DOCKER { Runtime::Docker } else { Runtime::Process })
    };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy", "--force"]);
    (gapless, app)
}

fn round(gapless: &Gapless, app: &App, host: &Host, outcome: &mut SoakReport) {
    let mut count = |what| *outcome.done.entry(what).or_default() += 1;
    gapless.ok(["deploy", "--force"]);
    count("deploys");
    gapless.ok(["rollback"]);
    count("rollbacks");
    if outcome.rounds.is_multiple_of(BAD_RELEASE_EVERY) {
        app.misbehaving("never-healthy").write(host.folder());
        let ran = gapless.run(["deploy", "--force"]);
        assert_ne!(ran.code, 0, "a release that is never healthy went live: {ran:?}");
        app.write(host.folder());
        count("failing deploys");
    }
    for command in [["status", "--json"], ["history", "--json"], ["logs", "-n20"]] {
        gapless.ok(command);
    }
}

/// Returns whether no deployment is running.
fn rests(gapless: &Gapless) -> bool {
    let ran = gapless.run(["status", "--json"]);
    let views: Vec<ApplicationView> = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let is_at_rest = |state| matches!(state, SlotState::Live | SlotState::Parked | SlotState::Stopped);
    !views.is_empty()
        && views.iter().all(|view| {
            view.active.is_none() && view.queue.is_empty() && view.slots.iter().all(|slot| is_at_rest(slot.state))
        })
}

fn sample(host: &Host, at: Duration) -> Sample {
    let info = host.server_info();
    let proxy = info.planes.iter().find_map(|plane| plane.pid).unwrap_or_default();
    Sample {
        at_s: at.as_secs(),
        server: Usage::of(info.pid).unwrap_or_default(),
        proxy: Usage::of(proxy).unwrap_or_default(),
        containers: listed(&["ps", "--all", "--quiet", "--filter", &format!("name=^/?{DOCKER}\\.")]),
        networks: listed(&["network", "ls", "--quiet", "--filter", "label=dev.gapless.network"]),
        files: files_below(&host.folder().join("state")),
    }
}

fn listed(words: &[&str]) -> u64 {
    docker(words).ok().lines().count() as u64
}

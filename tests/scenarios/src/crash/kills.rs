//! Random kills: the server, its proxy, an instance, a shim or the Docker Engine, at random moments of deployments,
//! rollbacks and promotions, under load.

use gapless_harness::Rng;
use gapless_harness::deps::docker::OwnEngine;
use gapless_harness::ends_within;
use gapless_harness::{App, Gapless, Runtime, image};
use gapless_harness::{ExcusingLoad, TestHost, system};
use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

/// The runtime of each host.
const HOSTS: [Runtime; 2] = [Runtime::Process, Runtime::Docker];
const RATE_PER_S: u32 = 150;
/// The period from the start of a round in which processes are killed.
const KILLED_WITHIN_MS: u64 = 1800;
/// The maximum time until a killed Engine is started again.
const ENGINE_AWAY_MS: u64 = 1500;
/// The maximum time that a command keeps running once everything is consistent.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// The extent of the campaign and its seed.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The maximum number of rounds.
    pub rounds: u64,
    /// No round starts after this time.
    pub within: Duration,
    /// The seed.
    pub seed: u64,
}

/// The result of the campaign.
#[derive(Debug, Clone, Default)]
pub struct KillsReport {
    /// Rounds.
    pub rounds: u64,
    /// Rounds after which the host did not become consistent by itself.
    pub repairs: u64,
    /// The problems.
    pub wrong: Vec<String>,
    /// Requests.
    pub requests: u64,
    /// Lost requests.
    pub failed: Vec<String>,
    /// Failed requests that were in flight in a killed proxy or instance.
    pub excused: u64,
    /// The number of kills of each victim.
    pub killed: BTreeMap<String, u64>,
    /// The number of commands of each kind.
    pub done: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Server,
    Proxy,
    Instance,
    /// The supervisor of instances: the shim of a process, the Engine of containers.
    Shim,
    Engine,
}

/// The victims with processes. The server most often, since it does most.
const VICTIMS: [Victim; 6] =
    [Victim::Server, Victim::Server, Victim::Server, Victim::Proxy, Victim::Instance, Victim::Shim];
/// The victims with containers.
const VICTIMS_OF_AN_ENGINE: [Victim; 6] =
    [Victim::Server, Victim::Server, Victim::Server, Victim::Proxy, Victim::Instance, Victim::Engine];

impl KillsReport {
    fn and(mut self, other: KillsReport) -> KillsReport {
        self.rounds += other.rounds;
        self.repairs += other.repairs;
        self.wrong.extend(other.wrong);
        self.requests += other.requests;
        self.failed.extend(other.failed);
        self.excused += other.excused;
        other.killed.into_iter().for_each(|(what, count)| *self.killed.entry(what).or_default() += count);
        other.done.into_iter().for_each(|(what, count)| *self.done.entry(what).or_default() += count);
        self
    }
}

/// Kills at random, round after round, on two hosts at the same time, since most of a round is waiting: a host with
/// processes and a host with containers. Each has its own seed, counted from the seed of the settings, and its share of
/// the rounds.
///
/// # Panics
/// If a host cannot be set up.
#[must_use]
pub fn run(settings: Settings, log_line: &(dyn Fn(&str) + Sync)) -> KillsReport {
    let rounds = settings.rounds.div_ceil(HOSTS.len() as u64);
    std::thread::scope(|scope| {
        let one = |seed| Settings { rounds, seed, ..settings };
        let hosts = HOSTS.into_iter().zip(settings.seed..);
        let running: Vec<_> =
            hosts.map(|(runtime, seed)| scope.spawn(move || run_one(runtime, one(seed), log_line))).collect();
        let ended = running.into_iter().map(|running| running.join().expect("the host thread ends"));
        ended.fold(KillsReport::default(), KillsReport::and)
    })
}

/// A host and the Engine of its containers.
struct Target {
    // In this order: the host ends before the Engine that it uses.
    test_host: TestHost,
    engine: Option<OwnEngine>,
}

impl Target {
    fn new(runtime: Runtime) -> Self {
        // Containers are found by their application's name, so the name must be unique.
        let name = format!("killed-{runtime:?}-{}", std::process::id()).to_lowercase();
        let app = App {
            replicas: 2,
            deploy: "observe = \"400ms\"\nkeep_warm = \"10m\"\npark = true\n".to_owned(),
            tables: "[environments.test]\nhosts = [\"test.example\"]\n\
                     [environments.production]\nhosts = [\"production.example\", \"127.0.0.1\", \"localhost\"]\n"
                .to_owned(),
            ..App::new(&name, runtime)
        };
        let engine = (runtime == Runtime::Docker).then(|| OwnEngine::start_with_live_restore(&[&image()]));
        let variables: Vec<_> = engine.iter().map(|engine| format!("DOCKER_HOST={}", engine.host())).collect();
        let mut test_host = TestHost::new(app, None, &variables);
        engine.iter().for_each(|engine| test_host.on_engine(&engine.host()));
        test_host.gapless.ok(["deploy", "--force", "-e", "test"]);
        Target { test_host, engine }
    }

    fn victims(&self) -> &'static [Victim] {
        if self.engine.is_some() { &VICTIMS_OF_AN_ENGINE } else { &VICTIMS }
    }

    /// Kills a process of this victim, if there is one, and returns a description.
    fn kill(&mut self, victim: Victim, chance: &mut Rng, load: &mut ExcusingLoad) -> Option<String> {
        match victim {
            Victim::Server => {
                self.test_host.host.kill_server();
                return Some("server killed".to_owned());
            }
            Victim::Engine => {
                self.engine.as_mut().filter(|engine| engine.is_running())?.kill();
                return Some("engine killed".to_owned());
            }
            Victim::Proxy | Victim::Instance | Victim::Shim => {}
        }
        let processes = match (victim, &self.engine) {
            (Victim::Instance, Some(_)) => system::processes_of_containers(self.test_host.name()),
            _ => system::processes(self.test_host.host.folder()),
        };
        let is_wanted = |process: &&system::Process| match victim {
            Victim::Proxy => process.is("proxy"),
            Victim::Shim => process.is("shim"),
            _ => process.instance.is_some() && !process.is("shim") && !process.is("server") && !process.is("proxy"),
        };
        let candidates: Vec<_> = processes.iter().filter(is_wanted).collect();
        if candidates.is_empty() {
            return None;
        }
        let process = *chance.one_of(&candidates);
        let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw)?;
        let at = SystemTime::now();
        // The process may have exited a moment ago.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok()?;
        if !matches!(victim, Victim::Shim) {
            load.killed_at(at);
        }
        Some(format!("{victim:?} {} {} killed", process.pid, process.instance.as_deref().unwrap_or("")))
    }
}

fn run_one(runtime: Runtime, settings: Settings, log_line: &(dyn Fn(&str) + Sync)) -> KillsReport {
    let give_up_at = Instant::now() + settings.within;
    let mut target = Target::new(runtime);
    let mut chance = Rng::new(settings.seed);
    let mut outcome = KillsReport::default();
    while outcome.rounds < settings.rounds && Instant::now() < give_up_at {
        let summary = round(&mut target, &mut chance, &mut outcome);
        outcome.rounds += 1;
        log_line(&format!("round {} ({runtime:?}, seed {}): {summary}", outcome.rounds, settings.seed));
        if outcome.repairs > 0 {
            break;
        }
    }
    outcome
}

fn round(target: &mut Target, chance: &mut Rng, outcome: &mut KillsReport) -> String {
    let mut load = ExcusingLoad::start(&target.test_host.host, RATE_PER_S);
    let (what, mut command) = start_change(&mut target.test_host, chance);
    *outcome.done.entry(what.to_owned()).or_default() += 1;
    let mut summary = what.to_owned();
    // One kill, and sometimes a second kill during the recovery from the first.
    let count = 1 + u64::from(chance.below(4) == 0);
    let mut moments: Vec<u64> = (0..count).map(|_| chance.below(KILLED_WITHIN_MS)).collect();
    moments.sort_unstable();
    let began = Instant::now();
    let until = |moment_ms| std::thread::sleep(Duration::from_millis(moment_ms).saturating_sub(began.elapsed()));
    let mut has_killed_proxy = false;
    let mut has_killed_server = false;
    let mut engine_back_at = None;
    for moment in moments {
        let mut victim = *chance.one_of(target.victims());
        // With both killed, no process keeps the listening sockets; in production systemd keeps them.
        if (has_killed_proxy && matches!(victim, Victim::Server))
            || (has_killed_server && matches!(victim, Victim::Proxy))
        {
            victim = Victim::Instance;
        }
        until(moment);
        if let Some(killed) = target.kill(victim, chance, &mut load) {
            has_killed_proxy |= matches!(victim, Victim::Proxy);
            has_killed_server |= matches!(victim, Victim::Server);
            if matches!(victim, Victim::Engine) {
                engine_back_at = Some(moment + chance.below(ENGINE_AWAY_MS));
            }
            *outcome.killed.entry(format!("{victim:?}").to_lowercase()).or_default() += 1;
            summary.push_str(&format!(", {moment} ms: {killed}"));
        }
        target.test_host.restart_if_exited();
    }
    if let (Some(back_at), Some(engine)) = (engine_back_at, &mut target.engine) {
        until(back_at);
        engine.restart();
    }
    let mut wrong = target.test_host.settle();
    if !ends_within(&mut command, COMMAND_DEADLINE) {
        wrong.push("the command does not end".to_owned());
    }
    let seen = load.stop();
    summary.push_str(&format!("; {} requests, {} failed, {} excused", seen.requests, seen.failed.len(), seen.excused));
    outcome.requests += seen.requests;
    outcome.excused += seen.excused;
    for what in seen.failed {
        summary.push_str(&format!("\n    {what}"));
        outcome.failed.push(what);
    }
    if !wrong.is_empty() {
        outcome.repairs += 1;
        wrong.extend(target.test_host.diagnostics());
        summary.push_str(&format!("\n    {}", wrong.join("\n    ")));
        outcome.wrong.extend(wrong);
    }
    summary
}

/// Starts a command that changes the live release.
fn start_change(test_host: &mut TestHost, chance: &mut Rng) -> (&'static str, Child) {
    let gapless: Gapless = test_host.gapless.clone();
    match chance.below(5) {
        0 | 1 => {
            test_host.build();
            ("deploy", gapless.spawn(["deploy", "--force"]))
        }
        2 => ("rollback", gapless.spawn(["rollback"])),
        3 => {
            test_host.build();
            ("deploy to test", gapless.spawn(["deploy", "--force", "-e", "test"]))
        }
        _ => ("promote", gapless.spawn(["promote", "--from", "test", "--to", "production"])),
    }
}

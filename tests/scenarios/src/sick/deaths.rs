//! The Engine dies and returns, hangs, loses its firewall, or has a full disk, while two applications get requests all
//! the time: running instances are served, no good release is reverted, and no answer ever comes from a foreign
//! container.

use super::pair::{APPS, Pair, Probes};
use gapless_core::deployment::{Outcome as End, Phase};
use gapless_harness::deps::Registry;
use gapless_harness::deps::docker::OwnEngine;
use gapless_harness::image;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The number of foreign containers that compete for addresses.
const STRANGERS: usize = 6;
/// Requests that must finish before the next event.
const SOME: u64 = 150;
/// The time for which an Engine is stopped: longer than the deadline of a call.
const STANDS_STILL: Duration = Duration::from_secs(12);

/// The result of the episodes.
#[derive(Debug, Clone, Default)]
pub struct DeathsReport {
    /// Episodes.
    pub episodes: u64,
    /// Requests.
    pub requests: u64,
    /// Requests without an answer while the containers ran.
    pub failed: Vec<String>,
    /// Requests without an answer while the Engine had ended the containers, or they were not back yet.
    pub excused: u64,
    /// Answers of the other application or of a foreign container.
    pub wrong_answers: Vec<String>,
    /// Reverted deployments.
    pub false_reverts: Vec<String>,
    /// Other problems.
    pub violations: Vec<String>,
    /// The time from the Engine's first answer until everything is consistent, in seconds, by episode.
    pub recovered_s: BTreeMap<String, f64>,
    /// Episodes that changed the address of an instance.
    pub moved: u64,
}

/// A fault of the Engine or its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Episode {
    /// Killed, and started again some time later.
    Killed,
    /// Stopped in order, and started again.
    Ended,
    /// Killed and started again while the server is down.
    KilledWithoutServer,
    /// Killed while a deployment is in this phase, and started again.
    KilledWhile(&'static str),
    /// Stopped while a deployment is in this phase, and started again.
    EndedWhile(&'static str),
    /// Stopped by SIGSTOP while a deployment starts.
    StandsStill,
    /// Its firewall is flushed, then a deployment starts.
    Flushed,
    /// An instance is killed from outside, and foreign containers start that could take its address.
    AddressWanted,
    /// The same while the server is down.
    AddressWantedWithoutServer,
    /// Its disk is full while a deployment starts.
    Full,
    /// A deployment needs an image of this registry.
    Needs(Registry),
}

impl Episode {
    /// All episodes.
    pub const ALL: [Episode; 17] = [
        Episode::Killed,
        Episode::Ended,
        Episode::KilledWithoutServer,
        Episode::KilledWhile("preparing"),
        Episode::KilledWhile("starting"),
        Episode::KilledWhile("checking"),
        Episode::KilledWhile("observing"),
        Episode::EndedWhile("observing"),
        Episode::StandsStill,
        Episode::Flushed,
        Episode::AddressWanted,
        Episode::AddressWantedWithoutServer,
        Episode::Full,
        Episode::Needs(Registry::Unauthorized),
        Episode::Needs(Registry::TooMany),
        Episode::Needs(Registry::OtherDigest),
        Episode::Needs(Registry::Silent),
    ];
}

/// Runs these episodes, one after another.
#[must_use]
pub fn run(episodes: &[Episode], log_line: &mut dyn FnMut(&str)) -> DeathsReport {
    let mut pair = Pair::new();
    for number in 1..=STRANGERS {
        stranger(&pair.engine, &format!("stranger{number}"));
    }
    let mut report = DeathsReport::default();
    for episode in episodes {
        run_episode(*episode, &mut pair, &mut report, log_line);
    }
    report
}

/// Starts a foreign container in the network of the instances; it answers as instances do, and restarts always.
fn stranger(engine: &OwnEngine, name: &str) {
    let run = ["run", "--detach", "--name", name, "--restart", "always", "--network", "gapless"];
    engine.ok(&[&run[..], &["-e", "PORT=9000", "-e", "DATA_DIR=/", &image()]].concat());
}

/// A running episode.
struct RunningEpisode<'a> {
    pair: &'a mut Pair,
    probes: Probes,
    /// Periods without running instances, in which requests may stay unanswered.
    excused: Vec<(Instant, Instant)>,
    wrong: Vec<String>,
    answers_again: Option<Instant>,
    /// The instances that were live at the start.
    live: Vec<String>,
}

fn run_episode(episode: Episode, pair: &mut Pair, report: &mut DeathsReport, log_line: &mut dyn FnMut(&str)) {
    let name = format!("{episode:?}");
    let before = pair.addresses();
    let numbers: Vec<_> = APPS.iter().map(|app| pair.latest(app).map_or(0, |latest| latest.number)).collect();
    let live = before.keys().cloned().collect();
    let probes = Probes::start(pair.host.address());
    let mut going = RunningEpisode { pair, probes, excused: Vec::new(), wrong: Vec::new(), answers_again: None, live };
    going.probes.wait_for_answers(SOME);
    going.act(episode);
    let RunningEpisode { pair, probes, mut excused, mut wrong, answers_again, .. } = going;
    wrong.extend(pair.settle());
    let settled = Instant::now();
    if let Some((_, until)) = excused.last_mut() {
        *until = settled;
    }
    probes.wait_for_answers(SOME);
    if let Some(since) = answers_again {
        report.recovered_s.insert(name.clone(), (settled - since).as_secs_f64());
    }
    let after = pair.addresses();
    let has_moved = before.iter().any(|(name, address)| after.get(name).is_some_and(|now| now != address));
    report.moved += u64::from(has_moved);
    for (app, number) in APPS.iter().zip(numbers) {
        let Some(latest) = pair.latest(app).filter(|latest| latest.number > number) else { continue };
        match latest.phase {
            Phase::Ended(End::Reverted(reason)) => {
                report.false_reverts.push(format!("{name}: {app}: {}", reason.message));
            }
            Phase::Ended(End::Failed(reason)) => log_line(&format!("    {app} failed: {}", reason.message)),
            Phase::Ended(End::Succeeded { .. }) => log_line(&format!("    {app} succeeded")),
            other => wrong.push(format!("{app}: {other:?}")),
        }
    }
    for app in APPS {
        pair.write(app, "1s");
        let next = pair.gapless(app).run(["deploy", "--force"]);
        if next.code != 0 {
            wrong.push(format!("the next deployment of {app}: {next:?}"));
        }
    }
    wrong.extend(pair.settle());
    let probed = probes.stop();
    let is_excused = |(sent, ended): (Instant, Instant)| excused.iter().any(|(from, to)| sent <= *to && ended >= *from);
    let (forgiven, failed): (Vec<_>, Vec<_>) =
        probed.unanswered.into_iter().partition(|(sent, ended, _)| is_excused((*sent, *ended)));
    let (recovered, wrong_answers) = (report.recovered_s.get(&name), probed.wrong.len());
    log_line(&format!(
        "{name}: {} requests, {} failed, {} excused, {wrong_answers} wrong answers, recovered {recovered:?}, moved {has_moved}, {}",
        probed.requests,
        failed.len(),
        forgiven.len(),
        if wrong.is_empty() { "well" } else { "VIOLATED" },
    ));
    wrong.iter().for_each(|what| log_line(&format!("    {what}")));
    report.episodes += 1;
    report.requests += probed.requests;
    report.excused += forgiven.len() as u64;
    report.failed.extend(failed.into_iter().map(|(_, _, what)| format!("{name}: {what}")));
    report.wrong_answers.extend(probed.wrong.into_iter().map(|what| format!("{name}: {what}")));
    report.violations.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
}

impl RunningEpisode<'_> {
    fn act(&mut self, episode: Episode) {
        match episode {
            Episode::Killed => {
                self.pair.engine.kill();
                // Its containers keep running.
                self.probes.wait_for_answers(SOME);
                self.restart();
            }
            Episode::Ended => self.end_and_start_again(),
            Episode::KilledWithoutServer => {
                self.pair.host.kill_server();
                self.pair.engine.kill();
                self.restart();
                self.probes.wait_for_answers(SOME);
                self.pair.host.start_server();
            }
            Episode::KilledWhile(phase) => {
                let deploying = self.deploy_until(phase);
                self.pair.engine.kill();
                self.probes.wait_for_answers(SOME);
                self.restart();
                self.wait_for(deploying);
            }
            Episode::EndedWhile(phase) => {
                let deploying = self.deploy_until(phase);
                self.end_and_start_again();
                self.wait_for(deploying);
            }
            Episode::StandsStill => {
                self.pair.engine.signal(Signal::STOP);
                let deploying = self.pair.gapless(APPS[0]).spawn(["deploy", "--force"]);
                let until = Instant::now() + STANDS_STILL;
                while Instant::now() < until {
                    self.probes.wait_for_answers(1);
                }
                self.pair.engine.signal(Signal::CONT);
                self.wait_for(deploying);
            }
            Episode::Flushed => {
                let flushed = Command::new("iptables").args(["--wait", "-t", "nat", "-F"]).status();
                assert!(flushed.is_ok_and(|status| status.success()), "iptables can be run: install iptables");
                self.probes.wait_for_answers(SOME);
                let deploying = self.pair.gapless(APPS[0]).spawn(["deploy", "--force"]);
                self.wait_for(deploying);
            }
            Episode::AddressWanted => self.address_wanted(),
            Episode::AddressWantedWithoutServer => {
                self.pair.host.kill_server();
                self.address_wanted();
                self.probes.wait_for_answers(SOME);
                self.pair.host.start_server();
            }
            Episode::Full => {
                let full = self.pair.engine.fill();
                for app in APPS {
                    let ran = self.pair.gapless(app).run(["deploy", "--force"]);
                    if ran.code == 0 || !ran.stdout.contains("no space left") && !ran.stderr.contains("no space left") {
                        self.wrong.push(format!("on a full disk: {ran:?}"));
                    }
                }
                self.probes.wait_for_answers(SOME);
                drop(full);
            }
            Episode::Needs(registry) => {
                self.pair.write_image(APPS[0], &Registry::image(registry.start()));
                let ran = self.pair.gapless(APPS[0]).run(["deploy", "--force"]);
                let text = format!("{}{}", ran.stdout, ran.stderr).to_lowercase();
                if ran.code == 0 || !text.contains(registry.words()) {
                    self.wrong.push(format!("with a registry that is {registry:?}: {ran:?}"));
                }
            }
        }
    }

    /// Starts a deployment, and waits until it is in this phase.
    fn deploy_until(&mut self, phase: &str) -> Child {
        self.pair.write(APPS[0], "4s");
        let number = self.pair.latest(APPS[0]).map_or(0, |latest| latest.number);
        let deploying = self.pair.gapless(APPS[0]).spawn(["deploy", "--force"]);
        let give_up_at = Instant::now() + Duration::from_secs(30);
        // A short phase may have passed between two inspections; then the next phase is used.
        while Instant::now() < give_up_at {
            let latest = self.pair.latest(APPS[0]).filter(|latest| latest.number > number);
            if latest.is_some_and(|latest| latest.phase.name() == phase || latest.phase.is_end()) {
                break;
            }
        }
        deploying
    }

    fn wait_for(&mut self, mut deploying: Child) {
        let give_up_at = Instant::now() + Duration::from_secs(120);
        while deploying.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > give_up_at {
                self.wrong.push("the deployment does not end".to_owned());
                let _ = deploying.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the Engine, which ends leftover containers and starts those with a restart policy.
    fn restart(&mut self) {
        let now = Instant::now();
        self.excused.push((now, now));
        self.pair.engine.restart();
        self.answers_again = Some(Instant::now());
    }

    fn end_and_start_again(&mut self) {
        let now = Instant::now();
        self.excused.push((now, now));
        self.pair.engine.stop();
        self.pair.engine.restart();
        self.answers_again = Some(Instant::now());
    }

    /// Kills instances from outside, and starts foreign containers until one could take their address.
    fn address_wanted(&mut self) {
        let now = Instant::now();
        self.excused.push((now, now));
        self.answers_again = Some(now);
        for name in self.live.iter().filter(|name| name.starts_with(APPS[0])) {
            self.pair.engine.ok(&["kill", name]);
        }
        for number in 1..=STRANGERS {
            let name = format!("late-stranger{number}");
            stranger(&self.pair.engine, &name);
        }
        for number in 1..=STRANGERS {
            self.pair.engine.ok(&["rm", "--force", &format!("late-stranger{number}")]);
        }
    }
}

//! The Engine dies and comes back, hangs, loses its firewall, has a full disk, while two applications are asked all the
//! time: what runs is asked on, nothing is taken back for it, and nobody is ever answered by a stranger.

use super::pair::{APPS, Askers, Pair};
use gapless_core::deployment::{Outcome as End, Phase};
use gapless_harness::deps::Registry;
use gapless_harness::deps::docker::OwnEngine;
use gapless_harness::image;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How many containers of nobody's compete for addresses.
const STRANGERS: usize = 6;
/// Requests that are to end before something else happens.
const SOME: u64 = 150;
/// How long an Engine stands still: longer than a call of it may take.
const STANDS_STILL: Duration = Duration::from_secs(12);

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct DeathsReport {
    /// Episodes.
    pub episodes: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that nobody answered though the containers ran.
    pub failed: Vec<String>,
    /// Requests that nobody answered while the containers were ended by the Engine, or were not back yet.
    pub excused: u64,
    /// Answers of another application, or of a stranger.
    pub wrong_answers: Vec<String>,
    /// Deployments that were taken back.
    pub false_reverts: Vec<String>,
    /// What else was not as it should be.
    pub violations: Vec<String>,
    /// From the moment in which the Engine answers again to all being as it should be, in seconds, by episode.
    pub recovered_s: BTreeMap<String, f64>,
    /// Episodes after which an instance had another address.
    pub moved: u64,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Episode {
    /// Killed, and some time later started again.
    Killed,
    /// Ended in an orderly way, and started again.
    Ended,
    /// Killed and started again while nobody is there to notice.
    KilledWithoutServer,
    /// Killed while a deployment is in that phase, and started again.
    KilledWhile(&'static str),
    /// Ended while a deployment is in that phase, and started again.
    EndedWhile(&'static str),
    /// It stands still while a deployment begins.
    StandsStill,
    /// Its firewall is emptied, then a deployment begins.
    Flushed,
    /// Somebody ends an instance, and strangers come for its address.
    AddressWanted,
    /// The same while nobody is there to notice.
    AddressWantedWithoutServer,
    /// Its disk is full while a deployment begins.
    Full,
    /// A deployment needs an image of that registry.
    Needs(Registry),
}

impl Episode {
    /// All of them.
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

/// Has these episodes happen, one after the other.
#[must_use]
pub fn run(episodes: &[Episode], tell: &mut dyn FnMut(&str)) -> DeathsReport {
    let mut pair = Pair::new();
    for number in 1..=STRANGERS {
        stranger(&pair.engine, &format!("stranger{number}"));
    }
    let mut report = DeathsReport::default();
    for episode in episodes {
        happen(*episode, &mut pair, &mut report, tell);
    }
    report
}

/// A container of nobody's in the network of the instances, that answers as they do, and comes back.
fn stranger(engine: &OwnEngine, name: &str) {
    let run = ["run", "--detach", "--name", name, "--restart", "always", "--network", "gapless"];
    engine.ok(&[&run[..], &["-e", "PORT=9000", "-e", "DATA_DIR=/", &image()]].concat());
}

/// An episode that goes on.
struct Going<'a> {
    pair: &'a mut Pair,
    askers: Askers,
    /// While instances do not run, requests are not answered.
    excused: Vec<(Instant, Instant)>,
    wrong: Vec<String>,
    answers_again: Option<Instant>,
    /// The instances that were live when it began.
    live: Vec<String>,
}

fn happen(episode: Episode, pair: &mut Pair, report: &mut DeathsReport, tell: &mut dyn FnMut(&str)) {
    let name = format!("{episode:?}");
    let before = pair.addresses();
    let numbers: Vec<_> = APPS.iter().map(|app| pair.latest(app).map_or(0, |latest| latest.number)).collect();
    let live = before.keys().cloned().collect();
    let askers = Askers::start(pair.host.address());
    let mut going = Going { pair, askers, excused: Vec::new(), wrong: Vec::new(), answers_again: None, live };
    going.askers.hear(SOME);
    going.go_on(episode);
    let Going { pair, askers, mut excused, mut wrong, answers_again, .. } = going;
    wrong.extend(pair.settle());
    let settled = Instant::now();
    if let Some((_, until)) = excused.last_mut() {
        *until = settled;
    }
    askers.hear(SOME);
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
            Phase::Ended(End::Failed(reason)) => tell(&format!("    {app} failed: {}", reason.message)),
            Phase::Ended(End::Succeeded { .. }) => tell(&format!("    {app} succeeded")),
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
    let heard = askers.stop();
    let is_excused = |(sent, ended): (Instant, Instant)| excused.iter().any(|(from, to)| sent <= *to && ended >= *from);
    let (forgiven, failed): (Vec<_>, Vec<_>) =
        heard.unanswered.into_iter().partition(|(sent, ended, _)| is_excused((*sent, *ended)));
    let (recovered, wrong_answers) = (report.recovered_s.get(&name), heard.wrong.len());
    tell(&format!(
        "{name}: {} requests, {} failed, {} excused, {wrong_answers} wrong answers, recovered {recovered:?}, moved {has_moved}, {}",
        heard.requests,
        failed.len(),
        forgiven.len(),
        if wrong.is_empty() { "well" } else { "VIOLATED" },
    ));
    wrong.iter().for_each(|what| tell(&format!("    {what}")));
    report.episodes += 1;
    report.requests += heard.requests;
    report.excused += forgiven.len() as u64;
    report.failed.extend(failed.into_iter().map(|(_, _, what)| format!("{name}: {what}")));
    report.wrong_answers.extend(heard.wrong.into_iter().map(|what| format!("{name}: {what}")));
    report.violations.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
}

impl Going<'_> {
    fn go_on(&mut self, episode: Episode) {
        match episode {
            Episode::Killed => {
                self.pair.engine.kill();
                // What it ran goes on.
                self.askers.hear(SOME);
                self.start_again();
            }
            Episode::Ended => self.end_and_start_again(),
            Episode::KilledWithoutServer => {
                self.pair.host.kill_server();
                self.pair.engine.kill();
                self.start_again();
                self.askers.hear(SOME);
                self.pair.host.start_server();
            }
            Episode::KilledWhile(phase) => {
                let deploying = self.deploy_until(phase);
                self.pair.engine.kill();
                self.askers.hear(SOME);
                self.start_again();
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
                    self.askers.hear(1);
                }
                self.pair.engine.signal(Signal::CONT);
                self.wait_for(deploying);
            }
            Episode::Flushed => {
                let flushed = Command::new("iptables").args(["--wait", "-t", "nat", "-F"]).status();
                assert!(flushed.is_ok_and(|status| status.success()), "iptables can be run: install iptables");
                self.askers.hear(SOME);
                let deploying = self.pair.gapless(APPS[0]).spawn(["deploy", "--force"]);
                self.wait_for(deploying);
            }
            Episode::AddressWanted => self.address_wanted(),
            Episode::AddressWantedWithoutServer => {
                self.pair.host.kill_server();
                self.address_wanted();
                self.askers.hear(SOME);
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
                self.askers.hear(SOME);
                drop(full);
            }
            Episode::Needs(registry) => {
                self.pair.write_image(APPS[0], &Registry::image(registry.start()));
                let ran = self.pair.gapless(APPS[0]).run(["deploy", "--force"]);
                let told = format!("{}{}", ran.stdout, ran.stderr).to_lowercase();
                if ran.code == 0 || !told.contains(registry.words()) {
                    self.wrong.push(format!("with a registry that is {registry:?}: {ran:?}"));
                }
            }
        }
    }

    /// Begins a deployment, and waits until it is in that phase.
    fn deploy_until(&mut self, phase: &str) -> Child {
        self.pair.write(APPS[0], "4s");
        let number = self.pair.latest(APPS[0]).map_or(0, |latest| latest.number);
        let deploying = self.pair.gapless(APPS[0]).spawn(["deploy", "--force"]);
        let give_up_at = Instant::now() + Duration::from_secs(30);
        // A short phase may be over before it is looked at; then the next one does as well.
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
                self.wrong.push("the deployment goes on for ever".to_owned());
                let _ = deploying.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the Engine, which ends what it finds running and starts what is to come back.
    fn start_again(&mut self) {
        let now = Instant::now();
        self.excused.push((now, now));
        self.pair.engine.start_again();
        self.answers_again = Some(Instant::now());
    }

    fn end_and_start_again(&mut self) {
        let now = Instant::now();
        self.excused.push((now, now));
        self.pair.engine.stop();
        self.pair.engine.start_again();
        self.answers_again = Some(Instant::now());
    }

    /// An instance is ended from outside, and strangers are started until one would have its address.
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

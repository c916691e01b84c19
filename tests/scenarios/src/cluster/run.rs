//! One run: a cluster of its own, its rounds of faults under load, its recoveries, and what is found out afterwards.

use super::faults::{Cluster, Done};
use super::judge::{self, judge};
use super::members::Members;
use super::network::{MACHINES, Network};
use super::schedule::{Kind, Round, schedule};
use super::servers::{Looking, Servers, server_number};
use super::story::Story;
use super::work::{finish, work};
use gapless_api::ApplicationView;
use gapless_core::deployment;
use gapless_harness::{App, Gapless, Load, Runtime};
use gapless_ledger::LoadPlan;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long everything may take to recover before that is given up: much longer than it should.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// How long one command may take of that.
const DEPLOY_DEADLINE: Duration = Duration::from_secs(30);
const LEFTOVERS_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How long after a leader was killed another is looked for.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
const APP: &str = "steady";

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Rounds of faults.
    pub rounds: usize,
    /// Requests a second.
    pub rate_per_s: u32,
    /// Within what everything is to recover.
    pub recovery_max: Duration,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Its seed.
    pub seed: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Deployments that have ended, by their kind and end.
    pub ended: BTreeMap<String, u64>,
    /// How often another leadership followed one.
    pub leaders_followed: u64,
    /// From a leader's being killed to another's leading, in seconds, where nothing else was broken.
    pub takeovers_s: Vec<f64>,
    /// From the last fault's end to a leader that answers, in seconds.
    pub leader_s: Vec<f64>,
    /// From the last fault's end until all servers answer, what was under way has ended, and a fresh deployment has
    /// succeeded, in seconds.
    pub recovery_s: Vec<f64>,
    /// Fresh deployments that were refused meanwhile, and asked for again.
    pub refused: u64,
    /// Moments with more than one live slot.
    pub double_live: u64,
    /// Changes of what is live by who did not lead.
    pub unfenced: u64,
    /// Changes of what is live.
    pub live_changes: u64,
    /// Of these, those of which no server learnt that they were made.
    pub unanswered: u64,
    /// What went wrong, in words.
    pub violations: Vec<String>,
    /// What happened, and when.
    pub timeline: Vec<String>,
    /// Who led and what was live, as etcd has it.
    pub history: Vec<String>,
}

/// Runs the schedule of a seed, in the servers' namespace of `network`, with everything in `folder`.
///
/// # Panics
/// If the cluster does not even start.
#[must_use]
pub fn run(network: &Network, folder: &Path, seed: u64, settings: Settings) -> RunReport {
    let story = Story::new();
    let mut report = RunReport { seed, ..RunReport::default() };
    let members = Members::start(network, folder);
    let mut cluster = Cluster { network, members, servers: Servers::start(folder), under: Vec::new() };
    story.tell("three servers on three members");
    let app =
        App { deploy: "observe = \"500ms\"\nkeep_warm = \"10m\"\n".to_owned(), ..App::new(APP, Runtime::Process) };
    let app_folder = app.write(folder);
    let gaplesses: Vec<Gapless> =
        (1..=MACHINES).map(|number| cluster.servers.gapless(number).within(&app_folder)).collect();
    gaplesses[0].ok(["deploy", "--force"]);

    let plan = LoadPlan { rate_per_s: settings.rate_per_s, ..LoadPlan::new(cluster.servers.address()) };
    let load = Load::start(plan);
    for (number, round) in (1..).zip(schedule(seed, settings.rounds)) {
        story.tell(format!("round {number}, {} requests, {} failed", load.requests(), load.snapshot().failed));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let working = scope.spawn(|| work(&gaplesses, round.seed, &is_over, &story));
            faults(&mut cluster, &round, &story, &mut report);
            is_over.store(true, Ordering::Relaxed);
            working.join().expect("the work ends");
        });
        recover(&mut cluster, &gaplesses, &story, settings, &mut report);
    }
    let loaded = load.stop();
    (report.requests, report.failed) = (loaded.requests, loaded.failed);
    if loaded.failed > 0 {
        report
            .violations
            .push(format!("{} of {} requests failed: {:#?}", loaded.failed, loaded.requests, loaded.failures));
    }
    leave_nothing(&cluster, &gaplesses, folder, &mut report);
    look_back(&cluster, &mut report);
    drop(cluster);
    network.kill_all_of_host();
    report.timeline = story.into_lines();
    report
}

/// Carries the faults of a round out and mends them, each at its time.
fn faults(cluster: &mut Cluster, round: &Round, story: &Story, report: &mut RunReport) {
    let mut events: Vec<(Duration, usize, bool)> = Vec::new();
    for (index, fault) in round.faults.iter().enumerate() {
        events.extend([(fault.at, index, true), (fault.at + fault.lasts, index, false)]);
    }
    events.sort();
    let mut done: Vec<Option<Done>> = vec![None; round.faults.len()];
    let began = Instant::now();
    let disturbed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut takeover = None;
        for (at, index, begins) in events {
            std::thread::sleep(at.saturating_sub(began.elapsed()));
            if !begins {
                if let Some(done) = done[index].take() {
                    story.tell(format!("mended: {} of {}", done.kind.name(), done.number));
                    cluster.end(done);
                }
                continue;
            }
            disturbed.store(true, Ordering::Relaxed);
            let was_well = cluster.under.is_empty();
            let leader = cluster.members.get(judge::LEADER).and_then(|value| server_number(&judge::name(&value)));
            done[index] = cluster.begin(&round.faults[index], leader);
            let Some(done) = done[index] else { continue };
            story.tell(format!("fault: {} of {}, led by {leader:?}", done.kind.name(), done.number));
            *report.faults.entry(done.kind.name()).or_default() += 1;
            if done.kind == Kind::KillLeader && was_well && takeover.is_none() && leader == Some(done.number) {
                disturbed.store(false, Ordering::Relaxed);
                let (looking, disturbed) = (cluster.servers.looking(), &disturbed);
                takeover = Some(scope.spawn(move || takeover_s(&looking, done.number, disturbed)));
            }
        }
        if let Some(took) = takeover.and_then(|takeover| takeover.join().expect("somebody looked")) {
            story.tell(format!("another led after {took:.2} s"));
            report.takeovers_s.push(took);
        }
    });
}

/// How long it takes until another server leads, or the same one again, if it was started meanwhile; nothing where
/// another fault comes in between.
fn takeover_s(looking: &Looking, killed: usize, disturbed: &AtomicBool) -> Option<f64> {
    let began = Instant::now();
    while began.elapsed() < TAKEOVER_MAX && !disturbed.load(Ordering::Relaxed) {
        // The others first: one that was killed and is back takes its own lead back, which is no takeover but as good.
        let others = (1..=MACHINES).filter(|number| *number != killed).chain([killed]);
        if looking.leader_of(others).is_some() {
            return Some(began.elapsed().as_secs_f64());
        }
        std::thread::sleep(POLL);
    }
    None
}

/// Waits, once everything is mended, until everything works, and notes how long that took.
fn recover(cluster: &mut Cluster, gaplesses: &[Gapless], story: &Story, settings: Settings, report: &mut RunReport) {
    assert!(cluster.under.is_empty(), "{:?}", cluster.under);
    let mended = Instant::now();
    let since = || mended.elapsed().as_secs_f64();
    let looking = cluster.servers.looking();
    let leader = until(mended, || looking.leader_of(1..=MACHINES));
    report.leader_s.push(since());
    story.tell(format!("server{} leads after {:.2} s", leader.unwrap_or(0), since()));
    until(mended, || cluster.servers.all_answer());
    story.tell(format!("all answer after {:.2} s", since()));
    let ended = cluster.servers.ended();
    if !ended.is_empty() {
        report.violations.push(format!("servers {ended:?} have ended by themselves"));
    }
    let is_idle = |views: &[ApplicationView]| views.iter().all(|view| view.active.is_none() && view.queue.is_empty());
    let idle =
        until(mended, || (1..=MACHINES).find_map(|number| looking.applications(number)).filter(|views| is_idle(views)));
    story.tell(format!("nothing is under way after {:.2} s", since()));
    let deployed = idle.and_then(|_| {
        until(mended, || {
            let leader = looking.leader_of(1..=MACHINES)?;
            let child = gaplesses[leader - 1].spawn(["deploy", "--force"]);
            let ran = finish(child, DEPLOY_DEADLINE, || false);
            // A lead that was lost while things were mended is noticed now, and whoever asks is told to ask again.
            let refused = ran.as_ref().map_or("nothing", |ran| ran.stderr.trim());
            if ran.as_ref().is_none_or(|ran| ran.code != 0) {
                report.refused += 1;
                story.tell(format!("a fresh deployment is refused: {refused}"));
            }
            ran.filter(|ran| ran.code == 0)
        })
    });
    story.tell(format!("a fresh deployment has succeeded after {:.2} s: {}", since(), deployed.is_some()));
    report.recovery_s.push(since());
    if deployed.is_none() || mended.elapsed() > settings.recovery_max {
        report.violations.push(format!("recovered after {:.1} s: {}", since(), deployed.is_some()));
    }
}

fn until<T>(began: Instant, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if began.elapsed() >= RECOVERY_DEADLINE {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// Removes the application: nothing of it may be left.
fn leave_nothing(cluster: &Cluster, gaplesses: &[Gapless], folder: &Path, report: &mut RunReport) {
    let removed = gaplesses[0].run(["remove", "--yes"]);
    if removed.code != 0 {
        report.violations.push(format!("the application cannot be removed: {removed:?}"));
        return;
    }
    let began = Instant::now();
    let left = || {
        let entries =
            std::fs::read_dir(folder.join("host/processes/instances")).expect("the folder of instances is there");
        entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    while !left().is_empty() && began.elapsed() < LEFTOVERS_DEADLINE {
        std::thread::sleep(POLL);
    }
    if !left().is_empty() {
        report.violations.push(format!("left over: {:?}", left()));
    }
    if cluster.servers.all_answer().is_none() {
        report.violations.push("in the end not all servers answer, or not one leads".to_owned());
    }
}

/// Reads what etcd has recorded, and judges it.
fn look_back(cluster: &Cluster, report: &mut RunReport) {
    let judged = judge(&cluster.members.history("/gapless/"), &cluster.servers.commits());
    report.double_live = judged.double_live;
    report.unfenced = judged.unfenced;
    report.unanswered = judged.unanswered;
    report.live_changes = judged.live_changes;
    report.leaders_followed = judged.leaderships.saturating_sub(1);
    report.violations.extend(judged.wrong);
    report.history = judged.story;
    if judged.live_changes == 0 {
        report.violations.push("nothing ever became live: this history proves nothing".to_owned());
    }
    for deployment in judged.deployments.values() {
        let kind = match deployment.kind {
            deployment::Kind::Deploy => "deploy",
            deployment::Kind::Rollback => "rollback",
        };
        *report.ended.entry(format!("{kind} {}", deployment.phase.name())).or_default() += 1;
        if !deployment.phase.is_end() {
            report.violations.push(format!("deployment {} never ended", deployment.number));
        } else if !matches!(deployment.phase.name(), "succeeded" | "cancelled" | "unchanged") {
            report.history.push(format!("deployment {}: {:?}", deployment.number, deployment.phase));
        }
    }
}

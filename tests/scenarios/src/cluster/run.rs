//! One run: a cluster, its rounds of faults under load, its recoveries, and the verdict on its history.

use super::faults::{ActiveFault, Cluster};
use super::judge::{self, judge};
use super::members::Members;
use super::network::{MACHINES, Network};
use super::schedule::{Kind, Round, schedule};
use super::servers::{Inspector, Servers, server_number};
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

/// The deadline of a recovery: much longer than a recovery should take.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// The deadline of one command during a recovery.
const DEPLOY_DEADLINE: Duration = Duration::from_secs(30);
const LEFTOVERS_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// The maximum time to wait for a new leader after the leader was killed.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
const APP: &str = "steady";

/// The parameters of a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Rounds of faults.
    pub rounds: usize,
    /// Requests a second.
    pub rate_per_s: u32,
    /// The maximum time of a recovery.
    pub recovery_max: Duration,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Its seed.
    pub seed: u64,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Ended deployments by kind and outcome.
    pub ended: BTreeMap<String, u64>,
    /// The number of changes of leadership.
    pub leaders_followed: u64,
    /// From the kill of a leader to the next leadership, in seconds, without any other fault.
    pub takeovers_s: Vec<f64>,
    /// From the end of the last fault to a leader that answers, in seconds.
    pub leader_s: Vec<f64>,
    /// From the end of the last fault until all servers answer, all deployments have ended, and a new deployment has
    /// succeeded, in seconds.
    pub recovery_s: Vec<f64>,
    /// New deployments that were refused during recoveries, and requested again.
    pub refused: u64,
    /// Moments with more than one live slot.
    pub double_live: u64,
    /// Changes of the live slot by a server that did not lead.
    pub unfenced: u64,
    /// Changes of the live slot.
    pub live_changes: u64,
    /// Changes of the live slot that no server's log contains.
    pub unanswered: u64,
    /// The violations.
    pub violations: Vec<String>,
    /// The events of the run.
    pub timeline: Vec<String>,
    /// The leaders and live slots according to etcd.
    pub history: Vec<String>,
}

/// Runs the schedule of a seed in the servers' namespace of `network`; all files are in `folder`.
///
/// # Panics
/// If the cluster does not start.
#[must_use]
pub fn run(network: &Network, folder: &Path, seed: u64, settings: Settings) -> RunReport {
    let story = Story::new();
    let mut report = RunReport { seed, ..RunReport::default() };
    let members = Members::start(network, folder);
    let mut cluster = Cluster { network, members, servers: Servers::start(folder), active: Vec::new() };
    story.log("three servers on three members");
    let app =
        App { deploy: "observe = \"500ms\"\nkeep_warm = \"10m\"\n".to_owned(), ..App::new(APP, Runtime::Process) };
    let app_folder = app.write(folder);
    let gaplesses: Vec<Gapless> =
        (1..=MACHINES).map(|number| cluster.servers.gapless(number).within(&app_folder)).collect();
    gaplesses[0].ok(["deploy", "--force"]);

    let plan = LoadPlan { rate_per_s: settings.rate_per_s, ..LoadPlan::new(cluster.servers.address()) };
    let load = Load::start(plan);
    for (number, round) in (1..).zip(schedule(seed, settings.rounds)) {
        story.log(format!("round {number}, {} requests, {} failed", load.requests(), load.snapshot().failed));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let working = scope.spawn(|| work(&gaplesses, round.seed, &is_over, &story));
            faults(&mut cluster, &round, &story, &mut report);
            is_over.store(true, Ordering::Relaxed);
            working.join().expect("the work thread ends");
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
    remove_application(&cluster, &gaplesses, folder, &mut report);
    judge_history(&cluster, &mut report);
    drop(cluster);
    network.kill_all_of_host();
    report.timeline = story.into_lines();
    report
}

/// Injects and ends the faults of a round at their times.
fn faults(cluster: &mut Cluster, round: &Round, story: &Story, report: &mut RunReport) {
    let mut events: Vec<(Duration, usize, bool)> = Vec::new();
    for (index, fault) in round.faults.iter().enumerate() {
        events.extend([(fault.at, index, true), (fault.at + fault.lasts, index, false)]);
    }
    events.sort();
    let mut done: Vec<Option<ActiveFault>> = vec![None; round.faults.len()];
    let began = Instant::now();
    let disturbed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut takeover = None;
        for (at, index, begins) in events {
            std::thread::sleep(at.saturating_sub(began.elapsed()));
            if !begins {
                if let Some(done) = done[index].take() {
                    story.log(format!("fault ended: {} of {}", done.kind.name(), done.number));
                    cluster.end(done);
                }
                continue;
            }
            disturbed.store(true, Ordering::Relaxed);
            let was_well = cluster.active.is_empty();
            let leader = cluster.members.get(judge::LEADER).and_then(|value| server_number(&judge::name(&value)));
            done[index] = cluster.begin(&round.faults[index], leader);
            let Some(done) = done[index] else { continue };
            story.log(format!("fault: {} of {}, led by {leader:?}", done.kind.name(), done.number));
            *report.faults.entry(done.kind.name()).or_default() += 1;
            if done.kind == Kind::KillLeader && was_well && takeover.is_none() && leader == Some(done.number) {
                disturbed.store(false, Ordering::Relaxed);
                let (inspector, disturbed) = (cluster.servers.inspector(), &disturbed);
                takeover = Some(scope.spawn(move || takeover_s(&inspector, done.number, disturbed)));
            }
        }
        if let Some(took) = takeover.and_then(|takeover| takeover.join().expect("the takeover thread ends")) {
            story.log(format!("a server led after {took:.2} s"));
            report.takeovers_s.push(took);
        }
    });
}

/// The time until a server leads again, be it another server or the restarted one; `None` if another fault starts
/// first.
fn takeover_s(inspector: &Inspector, killed: usize, disturbed: &AtomicBool) -> Option<f64> {
    let began = Instant::now();
    while began.elapsed() < TAKEOVER_MAX && !disturbed.load(Ordering::Relaxed) {
        // The other servers first: a restarted server that resumes its own leadership counts, too.
        let others = (1..=MACHINES).filter(|number| *number != killed).chain([killed]);
        if inspector.leader_of(others).is_some() {
            return Some(began.elapsed().as_secs_f64());
        }
        std::thread::sleep(POLL);
    }
    None
}

/// Waits after the last fault until everything works, and records the time.
fn recover(cluster: &mut Cluster, gaplesses: &[Gapless], story: &Story, settings: Settings, report: &mut RunReport) {
    assert!(cluster.active.is_empty(), "{:?}", cluster.active);
    let ended_at = Instant::now();
    let since = || ended_at.elapsed().as_secs_f64();
    let inspector = cluster.servers.inspector();
    let leader = until(ended_at, || inspector.leader_of(1..=MACHINES));
    report.leader_s.push(since());
    story.log(format!("server{} leads after {:.2} s", leader.unwrap_or(0), since()));
    until(ended_at, || cluster.servers.all_answer());
    story.log(format!("all answer after {:.2} s", since()));
    let ended = cluster.servers.ended();
    if !ended.is_empty() {
        report.violations.push(format!("servers {ended:?} have ended by themselves"));
    }
    let is_idle = |views: &[ApplicationView]| views.iter().all(|view| view.active.is_none() && view.queue.is_empty());
    let idle = until(ended_at, || {
        (1..=MACHINES).find_map(|number| inspector.applications(number)).filter(|views| is_idle(views))
    });
    story.log(format!("no deployment is running after {:.2} s", since()));
    let deployed = idle.and_then(|_| {
        until(ended_at, || {
            let leader = inspector.leader_of(1..=MACHINES)?;
            let child = gaplesses[leader - 1].spawn(["deploy", "--force"]);
            let ran = finish(child, DEPLOY_DEADLINE, || false);
            // A leadership that was lost during the faults is noticed now, and the client is asked to retry.
            let refused = ran.as_ref().map_or("nothing", |ran| ran.stderr.trim());
            if ran.as_ref().is_none_or(|ran| ran.code != 0) {
                report.refused += 1;
                story.log(format!("a new deployment is refused: {refused}"));
            }
            ran.filter(|ran| ran.code == 0)
        })
    });
    story.log(format!("a new deployment has succeeded after {:.2} s: {}", since(), deployed.is_some()));
    report.recovery_s.push(since());
    if deployed.is_none() || ended_at.elapsed() > settings.recovery_max {
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

/// Removes the application, and checks that nothing is left over.
fn remove_application(cluster: &Cluster, gaplesses: &[Gapless], folder: &Path, report: &mut RunReport) {
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
        report.violations.push("at the end a server does not answer, or none leads".to_owned());
    }
}

/// Judges the history that etcd recorded.
fn judge_history(cluster: &Cluster, report: &mut RunReport) {
    let judged = judge(&cluster.members.history("/gapless/"), &cluster.servers.commits());
    report.double_live = judged.double_live;
    report.unfenced = judged.unfenced;
    report.unanswered = judged.unanswered;
    report.live_changes = judged.live_changes;
    report.leaders_followed = judged.leaderships.saturating_sub(1);
    report.violations.extend(judged.wrong);
    report.history = judged.story;
    if judged.live_changes == 0 {
        report.violations.push("no slot ever became live, so the history proves nothing".to_owned());
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

//! Each kind of call that a deployment makes of the Engine, with each fault, under load: the deployment ends by itself,
//! no request is lost, no good release is reverted and no good container stopped, nothing is left over, and the next
//! deployment succeeds.

use super::{Fault, FaultySocket, Rule};
use gapless_core::deployment::{Outcome as End, Phase};
use gapless_harness::deps::docker::OwnEngine;
use gapless_harness::{App, ExcusingLoad, Rng, Runtime, TestHost, ends_within, image};
use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

const RATE_PER_S: u32 = 100;
/// The maximum time of a deployment with a fault: the deadlines of all its phases, with a hanging call in each.
const ENDS_WITHIN: Duration = Duration::from_secs(150);
const APP: &str = "sick";
/// A container that does not belong to gapless.
const STRANGER: &str = "stranger";

/// The selected cases.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Only kinds of calls that contain this text.
    pub calls: String,
    /// Only these faults, as [`Fault`] is displayed, with `+` for a lasting fault; empty means all.
    pub faults: Vec<String>,
    /// The number of rounds with random faults that follow.
    pub rounds: u64,
    /// The seed of the random faults.
    pub seed: u64,
}

/// The result of the cases.
#[derive(Debug, Clone, Default)]
pub struct CallsReport {
    /// Cases.
    pub cases: u64,
    /// Calls with a fault.
    pub faults: u64,
    /// The number of calls of each kind in the story that makes them.
    pub calls: BTreeMap<String, usize>,
    /// Requests.
    pub requests: u64,
    /// Lost requests.
    pub failed: Vec<String>,
    /// Reverted deployments.
    pub false_reverts: Vec<String>,
    /// Containers that were stopped or restarted but should have kept running.
    pub wrong_stops: Vec<String>,
    /// Other problems.
    pub violations: Vec<String>,
    /// The number of deployments with a fault by outcome.
    pub ends: BTreeMap<String, u64>,
    /// The reasons of failed deployments by case.
    pub reasons: BTreeMap<String, String>,
    /// The duration of the slowest deployment, in seconds, and its case.
    pub slowest: (f64, String),
}

/// An operation that makes calls of the Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Story {
    Deploy,
    Rollback,
    /// A release that exits at once.
    BadRelease,
    /// The server restarts.
    Restart,
}

const STORIES: [Story; 4] = [Story::Deploy, Story::Rollback, Story::BadRelease, Story::Restart];

/// A case: a story, and the rule for faults during it.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    story: Story,
    rule: Rule,
}

/// Runs the selected cases.
#[must_use]
pub fn run(selection: &Selection, log_line: &mut dyn FnMut(&str)) -> CallsReport {
    let mut campaign = Campaign::new();
    let mut report = CallsReport::default();
    let stories = campaign.explore(&mut report);
    for case in cases(selection, &stories) {
        campaign.run_case(case, &mut report, log_line);
    }
    report
}

fn cases(selection: &Selection, stories: &BTreeMap<String, Story>) -> Vec<Case> {
    let is_selected =
        |fault: &str| selection.faults.is_empty() || selection.faults.iter().any(|wanted| wanted == fault);
    let mut cases = Vec::new();
    for (kind, story) in stories.iter().filter(|(kind, _)| kind.contains(&selection.calls)) {
        let once = Fault::ALL.into_iter().map(|fault| (fault.to_string(), Rule::first(kind, fault)));
        let lasting = [Fault::Status(404), Fault::Status(500), Fault::Close, Fault::Hang];
        let lasting = lasting.into_iter().map(|fault| (format!("{fault}+"), Rule::all(kind, fault)));
        for (fault, rule) in once.chain(lasting).filter(|(fault, _)| is_selected(fault)) {
            cases.push(Case { name: format!("{kind}: {fault}"), story: *story, rule });
        }
    }
    let mut chance = Rng::new(selection.seed);
    for round in 0..selection.rounds {
        let story = *chance.one_of(&[Story::Deploy, Story::Deploy, Story::Rollback]);
        let (per_mille, seed) = (20 + chance.below(150), chance.below(u64::MAX));
        let quick: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| *fault != Fault::Hang).collect();
        let rule = Rule::Any { per_mille, chance: Rng::new(seed), faults: quick };
        cases.push(Case { name: format!("round {round} of seed {}", selection.seed), story, rule });
    }
    cases
}

struct Campaign {
    // In this order: the host ends before the Engine that it uses.
    test_host: TestHost,
    socket: FaultySocket,
    engine: OwnEngine,
    _folder: tempfile::TempDir,
}

impl Campaign {
    fn new() -> Campaign {
        let engine = OwnEngine::start(&[&image()]);
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let socket = FaultySocket::new(&folder.path().join("front.sock"), &engine.socket());
        let variables = [format!("DOCKER_HOST=unix://{}", socket.path().display())];
        let mut test_host = TestHost::new(app(), None, &variables);
        test_host.on_engine(&engine.host());
        let (port, data) = ("PORT=9000", "DATA_DIR=/");
        engine.ok(&["run", "--detach", "--name", STRANGER, "--network", "gapless", "-e", port, "-e", data, &image()]);
        Campaign { test_host, socket, engine, _folder: folder }
    }

    /// The kinds of calls, with the story that makes them.
    fn explore(&mut self, report: &mut CallsReport) -> BTreeMap<String, Story> {
        // One deployment without counting first, so that both slots are in use as they are later.
        self.start(Story::Deploy).wait().expect("the process can be waited for");
        let mut stories = BTreeMap::new();
        for story in STORIES {
            self.must_settle();
            self.socket.calls();
            self.start(story).wait().expect("the process can be waited for");
            self.must_settle();
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            self.socket.calls().into_iter().for_each(|call| *counts.entry(call.kind).or_default() += 1);
            for (kind, count) in counts {
                stories.entry(kind.clone()).or_insert(story);
                report.calls.entry(kind).or_insert(count);
            }
        }
        stories
    }

    fn must_settle(&mut self) {
        let wrong = self.test_host.settle();
        assert!(wrong.is_empty(), "{wrong:?}\n{}", self.test_host.host.log());
    }

    fn start(&mut self, story: Story) -> Child {
        self.test_host.misbehave((story == Story::BadRelease).then_some("exit-at-start=3"));
        self.test_host.build();
        match story {
            Story::Deploy | Story::BadRelease => self.test_host.gapless.spawn(["deploy", "--force"]),
            Story::Rollback => self.test_host.gapless.spawn(["rollback"]),
            Story::Restart => {
                self.test_host.host.kill_server();
                self.test_host.host.start_server();
                self.test_host.gapless.spawn(["deploy", "--force"])
            }
        }
    }

    /// Runs one case.
    fn run_case(&mut self, case: Case, report: &mut CallsReport, log_line: &mut dyn FnMut(&str)) {
        let Case { name, story, rule } = case;
        let lasts = !matches!(rule, Rule::Of { times: 1, .. });
        let mut wrong = Vec::new();
        let before = self.live();
        let load = ExcusingLoad::start(&self.test_host.host, RATE_PER_S);
        let number = self.test_host.gapless.latest_if_any().map_or(0, |latest| latest.number);
        self.socket.arm(rule);
        let began = Instant::now();
        let mut command = self.start(story);
        if !ends_within(&mut command, ENDS_WITHIN) {
            wrong.push(format!("the deployment is still running after {ENDS_WITHIN:?}"));
        }
        let took = began.elapsed().as_secs_f64();
        // A lasting fault ends with the deployment; a single fault may hit later work, such as freezing the old slot.
        if lasts {
            self.socket.heal();
        }
        wrong.extend(self.test_host.settle());
        let faulty = self.socket.heal();
        let wrong_stops: Vec<_> = self.not_left_alone(&before);
        let end =
            self.test_host.gapless.latest_if_any().filter(|latest| latest.number > number).map(|latest| latest.phase);
        let end = self.judge(&name, story, end, &mut wrong, report);
        let live = self.live();
        self.test_host.misbehave(None);
        self.test_host.build();
        let next = self.test_host.gapless.run(["deploy", "--force"]);
        if next.code != 0 {
            wrong.push(format!("the next deployment: {next:?}"));
        }
        wrong.extend(self.test_host.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
        let wrong_stops: Vec<_> = wrong_stops.into_iter().chain(self.not_left_alone(&live)).collect();
        if !wrong.is_empty() {
            wrong.extend(self.test_host.diagnostics());
        }
        let seen = load.stop();
        let verdict = if wrong.is_empty() && wrong_stops.is_empty() { "well" } else { "VIOLATED" };
        let (requests, failed) = (seen.requests, seen.failed.len());
        log_line(&format!(
            "{name} ({story:?}): {verdict}, {faulty} faulty calls, {end}, {took:.1} s; {requests} requests, {failed} failed"
        ));
        wrong
            .iter()
            .chain(&wrong_stops)
            .chain(seen.failed.iter().take(5))
            .for_each(|what| log_line(&format!("    {what}")));
        report.cases += 1;
        report.faults += faulty;
        report.requests += requests;
        if took > report.slowest.0 {
            report.slowest = (took, name.clone());
        }
        let in_case = |what: String| format!("{name}: {what}");
        report.failed.extend(seen.failed.into_iter().map(in_case));
        report.wrong_stops.extend(wrong_stops.into_iter().map(in_case));
        report.violations.extend(wrong.into_iter().map(in_case));
    }

    /// Judges the outcome of the deployment, and returns its description.
    fn judge(
        &self,
        name: &str,
        story: Story,
        end: Option<Phase>,
        wrong: &mut Vec<String>,
        report: &mut CallsReport,
    ) -> String {
        let (end, reason) = match end {
            Some(Phase::Ended(End::Succeeded { warning })) => ("succeeded", warning),
            Some(Phase::Ended(End::Failed(reason))) => ("failed", Some(reason.message)),
            Some(Phase::Ended(End::Reverted(reason))) => {
                report.false_reverts.push(format!("{name}: {}", reason.message));
                ("reverted", Some(reason.message))
            }
            other => {
                wrong.push(format!("the deployment ended as {other:?}"));
                ("neither", None)
            }
        };
        if story == Story::BadRelease && end == "succeeded" {
            wrong.push("a bad release succeeded".to_owned());
        }
        *report.ends.entry(end.to_owned()).or_default() += 1;
        match reason {
            Some(reason) => {
                let text = format!("{end}: {reason}");
                report.reasons.insert(name.to_owned(), reason);
                text
            }
            None => end.to_owned(),
        }
    }

    /// The containers that may be frozen but not stopped, with an identification of their current run.
    fn live(&self) -> BTreeMap<String, String> {
        let views = self.test_host.views();
        let live = views.iter().flat_map(|view| view.slots.iter().filter(|slot| Some(slot.slot) == view.live));
        let names = live.flat_map(|slot| &slot.instances).map(|instance| instance.name.clone());
        names.chain([STRANGER.to_owned()]).map(|name| (name.clone(), self.run_of(&name))).collect()
    }

    fn run_of(&self, name: &str) -> String {
        let format = "{{.Id}} {{.State.StartedAt}} running={{.State.Running}}";
        let ran = self.engine.docker(&["inspect", "--type", "container", "--format", format, name]);
        format!("{}{}", ran.stdout.trim(), ran.stderr.trim())
    }

    fn not_left_alone(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let now = before.iter().map(|(name, run)| (name, run, self.run_of(name)));
        now.filter(|(_, run, now)| *run != now).map(|(name, run, now)| format!("{name}: {run}, now {now}")).collect()
    }
}

/// Two services, so that there are networks, and a gate that is a container.
fn app() -> App {
    let gate = format!("[[gates]]\nname = \"contained\"\nimage = \"{}\"\ncommand = [\"check\"]\n", image());
    let services = "[services.web]\npath = \"/\"\nport = 9000\n[services.api]\npath = \"/api\"\nport = 9000\n";
    let short =
        "observe = \"300ms\"\nkeep_warm = \"10m\"\npark = true\nstart_timeout = \"30s\"\nprepare_timeout = \"30s\"\n";
    App { deploy: short.to_owned(), tables: format!("{services}{gate}"), ..App::new(APP, Runtime::Docker) }
}

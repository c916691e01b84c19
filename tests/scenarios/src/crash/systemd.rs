//! The crash matrix of the systemd runtime: the failpoints of its unit files and of its calls of systemd, on a host
//! booted by systemd.

use super::faults::Faults;
use super::matrix::{MatrixReport, Selection, points};
use gapless_api::{ApplicationView, SlotState};
use gapless_harness::deps::SystemdHost;
use gapless_harness::{LoadResult, system, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The server; systemd restarts it whenever it exits.
const SERVER: &[&str] = &[
    "systemd-run",
    "--unit=gapless-under-test",
    "--property=Restart=always",
    "--property=RestartSec=50ms",
    "--property=StartLimitIntervalSec=0",
    // Children of the server survive its kill.
    "--property=KillMode=process",
    "--setenv=GAPLESS_FAULTS=/srv/faults",
    "/opt/gapless/gapless-failpoints",
    "server",
    "--state-dir",
    "/srv/state",
    "--listen",
    "127.0.0.1:80",
];
const APPLICATION: &str = "name = \"shop\"\nruntime = \"systemd\"\ncommand = [\"/opt/gapless/bdd-assistant\"]\n\
    [env]\nDATA_DIR = \"/srv/data\"\n[deploy]\nobserve = \"300ms\"\nkeep_warm = \"10m\"\npark = true\n\
    drain_timeout = \"2s\"\n";
const GAPLESS: &str = "/opt/gapless/gapless";

/// The commands that make the server reach places.
const STORIES: [&[&str]; 2] = [&[GAPLESS, "deploy", "--force", "--detach"], &[GAPLESS, "rollback", "--detach"]];

/// Runs the selected part of the failpoints of the systemd runtime.
#[must_use]
pub fn run(selection: &Selection, log_line: &mut dyn FnMut(&str)) -> MatrixReport {
    let host = Host::start();
    let reached = host.explore();
    let mut outcome = MatrixReport::default();
    let is_systemds = |point: &String| point.starts_with("unit.") || point.starts_with("systemd.");
    let points: Vec<String> = points().into_iter().filter(is_systemds).collect();
    for point in points.into_iter().filter(|point| selection.has(point)) {
        let places = ["before", "after"].map(|side| format!("{point}:{side}"));
        let mut is_struck = false;
        for (place, (story, times)) in places.iter().filter_map(|place| Some((place, *reached.get(place)?))) {
            outcome.places += 1;
            is_struck = true;
            outcome.run_cases(selection, place, times, log_line, |case| host.run_case(story, case));
        }
        outcome.points += usize::from(is_struck);
        if !is_struck {
            outcome.unreached.push(point);
        }
    }
    outcome
}

struct Host(SystemdHost);

impl Host {
    fn start() -> Self {
        let host = Host(SystemdHost::start("crashes"));
        for folder in ["faults", "data"] {
            fs::create_dir(host.0.folder().join(folder)).expect("the folder can be created");
        }
        fs::write(host.0.folder().join("gapless.toml"), APPLICATION).expect("the file can be written");
        host.0.ok(SERVER);
        let answers = || (host.0.run(&[GAPLESS, "status"]).code == 0).then_some(());
        wait_for("the server answers", SETTLE_DEADLINE, answers);
        // Twice, so that both slots are in use as they are later.
        for _ in 0..2 {
            host.0.gapless(&["deploy", "--force"]);
        }
        host
    }

    fn faults(&self) -> Faults {
        Faults::at(&self.0.folder().join("faults"))
    }

    fn explore(&self) -> BTreeMap<String, (&'static [&'static str], u32)> {
        let mut reached = BTreeMap::new();
        for story in STORIES {
            self.faults().trace();
            self.0.ok(story);
            let wrong = self.settle();
            assert!(wrong.is_empty(), "{wrong:?}");
            for (place, count) in self.faults().traced() {
                reached.entry(place).or_insert((story, count));
            }
        }
        reached
    }

    fn run_case(&self, story: &[&str], case: &str) -> (Vec<String>, LoadResult) {
        self.faults().clear();
        let mut wrong = Vec::new();
        let report = self.0.under_load("all", || {
            self.faults().arm(case);
            // A server that is killed before it has recorded the deployment has refused it.
            let _ = self.0.run(story);
            let _ = self.faults().injected(&mut wrong);
            wrong.extend(self.settle());
            let next = self.0.run(&[GAPLESS, "deploy", "--force"]);
            if next.code != 0 {
                wrong.push(format!("the next deployment: {next:?}"));
            }
            wrong.extend(self.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
        });
        if !wrong.is_empty() {
            let journal = self.0.run(&["journalctl", "--unit=gapless-under-test", "--no-pager", "--lines=30"]);
            wrong.extend(journal.stdout.lines().map(|line| format!("log: {line}")));
        }
        let failures = report["failures"].as_array().cloned().unwrap_or_default();
        let mut failed: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let beyond = report["failed"].as_u64().unwrap_or_default().saturating_sub(failed.len() as u64);
        failed.extend((0..beyond).map(|_| "a failure beyond those that the ledger keeps".to_owned()));
        (wrong, LoadResult { requests: report["requests"].as_u64().unwrap_or_default(), failed, excused: 0 })
    }

    /// Waits until everything is consistent, and returns the problems at the deadline.
    fn settle(&self) -> Vec<String> {
        let give_up_at = Instant::now() + SETTLE_DEADLINE;
        loop {
            let wrong = self.wrong();
            if wrong.is_empty() || Instant::now() >= give_up_at {
                return wrong;
            }
            std::thread::sleep(POLL);
        }
    }

    /// The current inconsistencies: there must be one live slot, and units, folders and files must agree with the
    /// records.
    fn wrong(&self) -> Vec<String> {
        let said = self.0.run(&[GAPLESS, "status", "--json"]).stdout;
        let views: Vec<ApplicationView> = serde_json::from_str(&said).unwrap_or_default();
        let [view] = views.as_slice() else { return vec![format!("the server lists {} applications", views.len())] };
        let mut wrong = Vec::new();
        if view.active.is_some() || !view.queue.is_empty() || !view.planes_behind.is_empty() {
            wrong.push("a deployment has not ended".to_owned());
        }
        let live: Vec<_> = view.slots.iter().filter(|slot| slot.state == SlotState::Live).collect();
        if live.len() != 1 || live[0].instances.iter().any(|instance| !instance.in_rotation) {
            wrong.push(format!("the live slots are {live:?}"));
        }
        let is_there = |state: SlotState| matches!(state, SlotState::Live | SlotState::Parked | SlotState::Standby);
        let slots = view.slots.iter().filter(|slot| is_there(slot.state)).flat_map(|slot| &slot.instances);
        let recorded: BTreeSet<String> = slots.map(|instance| instance.name.clone()).collect();
        let folders = system::instance_folders_of(&self.0.folder().join("state/systemd"));
        if folders != recorded {
            wrong.push(format!("folders of {folders:?}, recorded {recorded:?}"));
        }
        let listed = |words: &[&str]| self.0.run(words).stdout.lines().count();
        let files = listed(&["find", "/etc/systemd/system", "-maxdepth", "1", "-name", "shop-*.service"]);
        let active = ["systemctl", "list-units", "--state=active", "--plain", "--no-legend", "shop-*.service"];
        let active = listed(&active);
        if files != recorded.len() || active != recorded.len() {
            wrong.push(format!("{files} unit files, {active} active units, {} instances", recorded.len()));
        }
        let unfinished = listed(&["find", "/etc/systemd/system", "/srv/state", "-name", "*.new"]);
        if unfinished > 0 {
            wrong.push(format!("{unfinished} unfinished files"));
        }
        wrong
    }
}

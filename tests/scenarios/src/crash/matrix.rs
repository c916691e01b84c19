//! The crash matrix: at each place before and after a durable write or an outside effect, the process is killed, the
//! call fails, or the call hangs. Afterwards everything is consistent, no request was lost, and the next deployment
//! succeeds.

use super::faults::{Faults, wait_until_gone};
use gapless_harness::deps::{Etcd, Nginx};
use gapless_harness::ends_within;
use gapless_harness::programs::failing_program;
use gapless_harness::{App, ExcusingLoad, Gapless, LoadResult, Runtime, TestHost, TestStack, get};
use gapless_ledger::Mix;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

/// The maximum time until a host answers again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const RATE_PER_S: u32 = 150;
/// The faults.
const FAULTS: [&str; 3] = ["kill", "error", "hang"];
/// The maximum time that a command keeps running once everything is consistent.
const COMMAND_DEADLINE: Duration = Duration::from_secs(40);

/// The selected part of the matrix.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The runtime of the application.
    pub runtime: Runtime,
    /// nginx is the data plane.
    pub is_behind_nginx: bool,
    /// etcd is the store of the records.
    pub is_on_etcd: bool,
    /// Patterns of points, such as `runtime.*`.
    pub points: Vec<String>,
    /// The faults; empty means all faults.
    pub faults: Vec<String>,
    /// How many visits of a place by one deployment get a fault, from the first visit on.
    pub times: u32,
    /// Injects a fault in each story that reaches a place, not in the first story alone.
    pub is_in_each_story: bool,
}

impl Selection {
    pub(super) fn has(&self, point: &str) -> bool {
        self.points.iter().any(|pattern| matches(pattern, point))
    }
}

/// The result of the matrix.
#[derive(Debug, Clone, Default)]
pub struct MatrixReport {
    /// Points with an injected fault.
    pub points: usize,
    /// Places: before and after each point.
    pub places: usize,
    /// Injected faults.
    pub faults: u64,
    /// Injected faults by kind.
    pub by_fault: BTreeMap<String, u64>,
    /// The problems, each with its case.
    pub violations: Vec<String>,
    /// Requests.
    pub requests: u64,
    /// Lost requests.
    pub failed: Vec<String>,
    /// Failed requests that were in flight in a killed proxy.
    pub excused: u64,
    /// Points that no process reached.
    pub unreached: Vec<String>,
}

/// An operation that makes processes reach places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Deploy,
    Rollback,
    /// The server is killed, and started again.
    Restart,
    /// The proxy is killed.
    ProxyDies,
    /// Proxy and server are replaced.
    Upgrade,
    /// Another application is removed.
    Remove,
    /// The first server of a host starts.
    First,
}

const STORIES: [Story; 6] =
    [Story::Deploy, Story::Rollback, Story::Restart, Story::Remove, Story::ProxyDies, Story::Upgrade];
/// Without the death and the upgrade of the data plane, since nginx is not gapless's to restart.
const STORIES_BEHIND_NGINX: [Story; 4] = [Story::Deploy, Story::Rollback, Story::Restart, Story::Remove];

/// The points that the binary lists.
///
/// # Panics
/// If there is no build with failpoints.
#[must_use]
pub fn points() -> Vec<String> {
    let output = Command::new(failing_program()).arg("failpoints").output().expect("gapless can be run");
    serde_json::from_slice(&output.stdout).expect("the binary lists its failpoints")
}

/// Runs the selected part of the matrix.
#[must_use]
pub fn run(selection: &Selection, log_line: &mut dyn FnMut(&str)) -> MatrixReport {
    let mut matrix = Matrix::new(selection);
    let reached = matrix.explore();
    let mut outcome = MatrixReport::default();
    let mut injected = BTreeSet::new();
    for point in points().into_iter().filter(|point| selection.has(point)) {
        for side in ["before", "after"] {
            let place = format!("{point}:{side}");
            let Some(stories) = reached.get(&place) else { continue };
            outcome.places += 1;
            injected.insert(point.clone());
            let stories = if selection.is_in_each_story { &stories[..] } else { &stories[..1] };
            for (story, times) in stories {
                let log_line = &mut |line: &str| log_line(&format!("{story:?}: {line}"));
                outcome.run_cases(selection, &place, *times, log_line, |case| matrix.run_case(*story, case));
            }
        }
        if !injected.contains(&point) {
            outcome.unreached.push(point);
        }
    }
    outcome.points = injected.len();
    outcome
}

impl MatrixReport {
    /// Runs the selected cases of a place with so many visits, and adds their results.
    pub(super) fn run_cases(
        &mut self,
        selection: &Selection,
        place: &str,
        times: u32,
        log_line: &mut dyn FnMut(&str),
        mut run_case: impl FnMut(&str) -> (Vec<String>, LoadResult),
    ) {
        let is_wanted =
            |fault: &&str| selection.faults.is_empty() || selection.faults.iter().any(|wanted| wanted == fault);
        for fault in FAULTS.into_iter().filter(is_wanted) {
            for skip in 0..times.min(selection.times) {
                let case = format!("{place} {fault} {skip}");
                let began = Instant::now();
                let (wrong, seen) = run_case(&case);
                self.faults += 1;
                *self.by_fault.entry(fault.to_owned()).or_default() += 1;
                let summary = self.add(&case, wrong, seen);
                log_line(&format!("{case}: {summary}, {:.1} s", began.elapsed().as_secs_f64()));
            }
        }
    }

    /// Adds the result of a case, and returns its description.
    fn add(&mut self, case: &str, wrong: Vec<String>, seen: LoadResult) -> String {
        self.requests += seen.requests;
        self.excused += seen.excused;
        let verdict = if wrong.is_empty() && seen.failed.is_empty() { "well" } else { "VIOLATED" };
        let mut summary = format!("{verdict}, {} failed, {} excused", seen.failed.len(), seen.excused);
        for what in wrong.iter().chain(seen.failed.iter().take(5)) {
            summary.push_str(&format!("\n    {what}\n   "));
        }
        self.violations.extend(wrong.into_iter().map(|what| format!("{case}: {what}")));
        self.failed.extend(seen.failed.into_iter().map(|what| format!("{case}: {what}")));
        summary
    }
}

/// Returns whether a name matches a pattern with `*` for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))),
    }
}

struct Matrix {
    test_host: TestHost,
    app: App,
    variables: [String; 1],
    faults: Faults,
    is_behind_nginx: bool,
    is_on_etcd: bool,
    _folder: tempfile::TempDir,
}

impl Matrix {
    fn new(selection: &Selection) -> Matrix {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let name = if selection.runtime == Runtime::Docker { "crashed-container" } else { "crashed-process" };
        let app = App {
            deploy: "observe = \"300ms\"\nkeep_warm = \"10m\"\npark = true\n".to_owned(),
            hosts: vec!["production.example".to_owned()],
            tables: "[[hooks]]\nname = \"noted\"\nat = \"before-start\"\ncommand = [\"/bin/true\"]\n".to_owned(),
            ..App::new(name, selection.runtime)
        };
        let variables = [format!("GAPLESS_FAULTS={}", folder.path().display())];
        let Selection { is_behind_nginx, is_on_etcd, .. } = *selection;
        let stack = TestStack { nginx: is_behind_nginx.then(Nginx::start), etcd: is_on_etcd.then(Etcd::start) };
        let test_host = TestHost::on_stack(stack, app.clone(), Some(&failing_program()), &variables);
        let faults = Faults::at(folder.path());
        Matrix { test_host, app, variables, faults, is_behind_nginx, is_on_etcd, _folder: folder }
    }

    /// The reached places, with the stories that reach them and the number of visits in each story.
    fn explore(&mut self) -> BTreeMap<String, Vec<(Story, u32)>> {
        // One untraced deployment first, so that both slots are in use as they are later.
        self.act(Story::Deploy, None, None);
        let mut reached = BTreeMap::new();
        let stories: &[Story] = if self.is_behind_nginx { &STORIES_BEHIND_NGINX } else { &STORIES };
        for story in stories {
            let wrong = self.test_host.settle();
            assert!(wrong.is_empty(), "{wrong:?}\n{}", self.test_host.host.log());
            let aside = self.aside(*story);
            self.faults.trace();
            let command = self.act(*story, aside.as_ref(), None);
            let wrong = self.settle(aside.as_ref());
            assert!(wrong.is_empty(), "{wrong:?}\n{}", self.test_host.host.log());
            assert!(command.is_none_or(|mut command| ends_within(&mut command, COMMAND_DEADLINE)), "{story:?}");
            self.traced(*story, &mut reached);
        }
        if !self.is_behind_nginx {
            self.faults.trace();
            let mut first = self.unstarted();
            first.host.start_server();
            self.traced(Story::First, &mut reached);
        }
        reached
    }

    fn traced(&self, story: Story, reached: &mut BTreeMap<String, Vec<(Story, u32)>>) {
        for (place, count) in self.faults.traced() {
            reached.entry(place).or_default().push((story, count));
        }
    }

    /// Another host, with no server yet.
    fn unstarted(&self) -> TestHost {
        let stack = TestStack { nginx: None, etcd: self.is_on_etcd.then(Etcd::start) };
        // Containers are found by their application's name, and those of the other host keep running.
        let app = App { name: format!("{}-first", self.app.name), ..self.app.clone() };
        TestHost::unstarted(stack, app, Some(&failing_program()), &self.variables)
    }

    /// The second application of a story that has one.
    fn aside(&self, story: Story) -> Option<Gapless> {
        (story == Story::Remove).then(|| self.test_host.deploy_second_application())
    }

    /// Waits until everything is consistent, and returns the problems at the deadline.
    fn settle(&mut self, aside: Option<&Gapless>) -> Vec<String> {
        let mut wrong = aside.map(|aside| self.test_host.settle_removal(aside)).unwrap_or_default();
        wrong.extend(self.test_host.settle());
        wrong
    }

    /// Runs a story, and returns its command if that can still be running.
    fn act(&mut self, story: Story, aside: Option<&Gapless>, load: Option<&mut ExcusingLoad>) -> Option<Child> {
        match story {
            Story::Deploy => {
                self.test_host.build();
                // A server that is killed before it has recorded the deployment has refused it.
                let _ = self.test_host.gapless.run(["deploy", "--force", "--detach"]);
            }
            Story::Rollback => drop(self.test_host.gapless.run(["rollback", "--detach"])),
            Story::Restart => {
                self.test_host.host.kill_server();
                self.test_host.restart_if_exited();
            }
            Story::ProxyDies => {
                if let Some(load) = load {
                    load.killed_at(SystemTime::now());
                }
                self.test_host.host.kill_proxy();
            }
            Story::Upgrade => return Some(self.test_host.gapless.spawn(["upgrade"])),
            Story::Remove => return aside.map(|aside| aside.spawn(["remove", "--yes"])),
            Story::First => self.test_host.host.spawn_server(),
        }
        None
    }

    /// Runs one case, and returns its problems and the result of the load.
    fn run_case(&mut self, story: Story, case: &str) -> (Vec<String>, LoadResult) {
        self.faults.clear();
        if story == Story::First {
            return (self.run_first(case), LoadResult::default());
        }
        // nginx closes kept connections at each reload.
        let mix = if self.is_behind_nginx { Mix::GetForgiving } else { Mix::All };
        let aside = self.aside(story);
        let mut load = ExcusingLoad::of(mix, &self.test_host.host, RATE_PER_S);
        self.faults.arm(case);
        let command = self.act(story, aside.as_ref(), Some(&mut load));
        let mut wrong = Vec::new();
        if let Some((pid, at)) = self.faults.injected(&mut wrong)
            && case.contains(" kill ")
        {
            // The killed process is the serving proxy.
            if case.starts_with("table.") || case.starts_with("proxy.successor") {
                load.killed_at(at);
            }
            wait_until_gone(pid);
            if story == Story::ProxyDies && self.test_host.host.server_pid() == Some(pid) {
                self.wait_until_served(&mut load, at);
            }
        }
        wrong.extend(self.settle(aside.as_ref()));
        if let Some(mut command) = command
            && !ends_within(&mut command, COMMAND_DEADLINE)
        {
            wrong.push("the command does not end".to_owned());
        }
        self.check_next_deployment(&mut wrong);
        (wrong, load.stop())
    }

    /// Runs one case with the first server of a new host.
    fn run_first(&mut self, case: &str) -> Vec<String> {
        self.faults.arm(case);
        let mut first = self.unstarted();
        std::mem::swap(&mut self.test_host, &mut first);
        self.act(Story::First, None, None);
        let mut wrong = Vec::new();
        if let Some((pid, _)) = self.faults.injected(&mut wrong)
            && case.contains(" kill ")
        {
            wait_until_gone(pid);
        }
        let give_up_at = Instant::now() + ANSWERS_WITHIN;
        while self.test_host.host.gapless().run(["status"]).code != 0 && Instant::now() < give_up_at {
            self.test_host.restart_if_exited();
            std::thread::sleep(POLL);
        }
        self.check_next_deployment(&mut wrong);
        // The processes of the new host end when it is dropped.
        std::mem::swap(&mut self.test_host, &mut first);
        wrong
    }

    /// Checks that the next deployment succeeds, and that everything is consistent afterwards.
    fn check_next_deployment(&mut self, wrong: &mut Vec<String>) {
        self.test_host.build();
        let next = self.test_host.gapless.run(["deploy", "--force"]);
        if next.code != 0 {
            wrong.push(format!("the next deployment: {next:?}"));
        }
        wrong.extend(self.test_host.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
        if !wrong.is_empty() {
            wrong.extend(self.test_host.diagnostics());
        }
    }

    /// Restarts the server and waits for an answer: with both proxy and server killed, no process keeps the listening
    /// sockets.
    fn wait_until_served(&mut self, load: &mut ExcusingLoad, killed_at: SystemTime) {
        self.test_host.restart_if_exited();
        let give_up_at = Instant::now() + ANSWERS_WITHIN;
        while get(self.test_host.host.address(), "/", "Host: production.example\r\n").is_none()
            && Instant::now() < give_up_at
        {
            std::thread::sleep(POLL);
        }
        load.down(killed_at, SystemTime::now());
    }
}

//! The crash matrix: at each place before and after a durable write or an outside effect, the process is killed there,
//! the call fails, or it hangs; then all is as it should be, no request was lost, and the next deployment succeeds.

use super::faults::{Faults, wait_until_gone};
use gapless_harness::deps::{Etcd, Nginx};
use gapless_harness::ends_within;
use gapless_harness::programs::failing_program;
use gapless_harness::{App, ExcusingLoad, Gapless, LoadResult, Runtime, TestHost, TestStack, get};
use gapless_ledger::Mix;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

/// How long a host may take until it answers again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const RATE_PER_S: u32 = 150;
/// What happens at a place.
const FAULTS: [&str; 3] = ["kill", "error", "hang"];
/// How long a command may go on after all is as it should be.
const COMMAND_DEADLINE: Duration = Duration::from_secs(40);

/// What is run of the matrix.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What runs the application.
    pub runtime: Runtime,
    /// Whether nginx is the data plane.
    pub is_behind_nginx: bool,
    /// Whether etcd has the records.
    pub is_on_etcd: bool,
    /// Which points: `runtime.*`, say.
    pub points: Vec<String>,
    /// Which faults; none means all.
    pub faults: Vec<String>,
    /// How many of the times that a deployment comes to a place are struck, from the first on.
    pub times: u32,
    /// Whether a place is struck in each story that comes to it, and not in the first of them alone.
    pub is_in_each_story: bool,
}

impl Selection {
    pub(super) fn has(&self, point: &str) -> bool {
        self.points.iter().any(|pattern| matches(pattern, point))
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct MatrixReport {
    /// Points that were struck.
    pub points: usize,
    /// Places: before and after each.
    pub places: usize,
    /// Faults that were injected.
    pub faults: u64,
    /// By kind.
    pub by_fault: BTreeMap<String, u64>,
    /// What was not as it should be, with its case.
    pub violations: Vec<String>,
    /// Requests.
    pub requests: u64,
    /// Requests that were lost.
    pub failed: Vec<String>,
    /// Requests that were in flight in a proxy that was killed.
    pub excused: u64,
    /// Points that nothing came to.
    pub unreached: Vec<String>,
}

/// What makes a process come to a place.
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
/// What happens to a data plane that is nobody's of gapless is not for gapless to mend.
const STORIES_BEHIND_NGINX: [Story; 4] = [Story::Deploy, Story::Rollback, Story::Restart, Story::Remove];

/// The points that the binary names.
///
/// # Panics
/// Where there is no such binary.
#[must_use]
pub fn points() -> Vec<String> {
    let output = Command::new(failing_program()).arg("failpoints").output().expect("gapless can be run");
    serde_json::from_slice(&output.stdout).expect("it lists its points")
}

/// Runs what is selected of the matrix.
#[must_use]
pub fn run(selection: &Selection, tell: &mut dyn FnMut(&str)) -> MatrixReport {
    let mut matrix = Matrix::new(selection);
    let reached = matrix.explore();
    let mut outcome = MatrixReport::default();
    let mut struck = BTreeSet::new();
    for point in points().into_iter().filter(|point| selection.has(point)) {
        for side in ["before", "after"] {
            let place = format!("{point}:{side}");
            let Some(stories) = reached.get(&place) else { continue };
            outcome.places += 1;
            struck.insert(point.clone());
            let stories = if selection.is_in_each_story { &stories[..] } else { &stories[..1] };
            for (story, times) in stories {
                let tell = &mut |line: &str| tell(&format!("{story:?}: {line}"));
                outcome.strike(selection, &place, *times, tell, |case| matrix.strike(*story, case));
            }
        }
        if !struck.contains(&point) {
            outcome.unreached.push(point);
        }
    }
    outcome.points = struck.len();
    outcome
}

impl MatrixReport {
    /// Carries out all cases that are wanted of a place that is come to so many times, and adds what they showed.
    pub(super) fn strike(
        &mut self,
        selection: &Selection,
        place: &str,
        times: u32,
        tell: &mut dyn FnMut(&str),
        mut strike: impl FnMut(&str) -> (Vec<String>, LoadResult),
    ) {
        let is_wanted =
            |fault: &&str| selection.faults.is_empty() || selection.faults.iter().any(|wanted| wanted == fault);
        for fault in FAULTS.into_iter().filter(is_wanted) {
            for skip in 0..times.min(selection.times) {
                let case = format!("{place} {fault} {skip}");
                let began = Instant::now();
                let (wrong, seen) = strike(&case);
                self.faults += 1;
                *self.by_fault.entry(fault.to_owned()).or_default() += 1;
                let told = self.add(&case, wrong, seen);
                tell(&format!("{case}: {told}, {:.1} s", began.elapsed().as_secs_f64()));
            }
        }
    }

    /// Adds what a case showed: the verdict, for people.
    fn add(&mut self, case: &str, wrong: Vec<String>, seen: LoadResult) -> String {
        self.requests += seen.requests;
        self.excused += seen.excused;
        let verdict = if wrong.is_empty() && seen.failed.is_empty() { "well" } else { "VIOLATED" };
        let mut told = format!("{verdict}, {} failed, {} excused", seen.failed.len(), seen.excused);
        for what in wrong.iter().chain(seen.failed.iter().take(5)) {
            told.push_str(&format!("\n    {what}\n   "));
        }
        self.violations.extend(wrong.into_iter().map(|what| format!("{case}: {what}")));
        self.failed.extend(seen.failed.into_iter().map(|what| format!("{case}: {what}")));
        told
    }
}

/// Whether a name is of a pattern with `*` for anything.
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
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
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
        let test_host = TestHost::upon(stack, app.clone(), Some(&failing_program()), &variables);
        let faults = Faults::at(folder.path());
        Matrix { test_host, app, variables, faults, is_behind_nginx, is_on_etcd, _folder: folder }
    }

    /// Which places are come to, by which stories, and how often in each.
    fn explore(&mut self) -> BTreeMap<String, Vec<(Story, u32)>> {
        // Once without being looked at, so that both slots are in use as they are later.
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
            let mut first = self.unbegun();
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
    fn unbegun(&self) -> TestHost {
        let stack = TestStack { nginx: None, etcd: self.is_on_etcd.then(Etcd::start) };
        // Containers are found by their application's name, and those of the other host go on.
        let app = App { name: format!("{}-first", self.app.name), ..self.app.clone() };
        TestHost::unbegun(stack, app, Some(&failing_program()), &self.variables)
    }

    /// The other application of a story that has one.
    fn aside(&self, story: Story) -> Option<Gapless> {
        (story == Story::Remove).then(|| self.test_host.another())
    }

    /// Waits until all is as it should be: what is not, at the deadline.
    fn settle(&mut self, aside: Option<&Gapless>) -> Vec<String> {
        let mut wrong = aside.map(|aside| self.test_host.settle_without(aside)).unwrap_or_default();
        wrong.extend(self.test_host.settle());
        wrong
    }

    /// Carries it out; the command that may not have ended yet.
    fn act(&mut self, story: Story, aside: Option<&Gapless>, load: Option<&mut ExcusingLoad>) -> Option<Child> {
        match story {
            Story::Deploy => {
                self.test_host.build();
                // A server that is killed before it has recorded it has refused it.
                let _ = self.test_host.gapless.run(["deploy", "--force", "--detach"]);
            }
            Story::Rollback => drop(self.test_host.gapless.run(["rollback", "--detach"])),
            Story::Restart => {
                self.test_host.host.kill_server();
                self.test_host.revive();
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

    /// One case: what was not as it should be, and what the load saw.
    fn strike(&mut self, story: Story, case: &str) -> (Vec<String>, LoadResult) {
        self.faults.clear();
        if story == Story::First {
            return (self.strike_first(case), LoadResult::default());
        }
        // nginx closes the connections that are kept to it at each reload.
        let mix = if self.is_behind_nginx { Mix::GetForgiving } else { Mix::All };
        let aside = self.aside(story);
        let mut load = ExcusingLoad::of(mix, &self.test_host.host, RATE_PER_S);
        self.faults.arm(case);
        let command = self.act(story, aside.as_ref(), Some(&mut load));
        let mut wrong = Vec::new();
        if let Some((pid, at)) = self.faults.struck(&mut wrong)
            && case.contains(" kill ")
        {
            // The proxy itself, which serves.
            if case.starts_with("table.") || case.starts_with("proxy.successor") {
                load.killed_at(at);
            }
            wait_until_gone(pid);
            if story == Story::ProxyDies && self.test_host.host.server_pid() == Some(pid) {
                self.answers_again(&mut load, at);
            }
        }
        wrong.extend(self.settle(aside.as_ref()));
        if let Some(mut command) = command
            && !ends_within(&mut command, COMMAND_DEADLINE)
        {
            wrong.push("the command goes on for ever".to_owned());
        }
        self.go_on(&mut wrong);
        (wrong, load.stop())
    }

    /// The same with the first server of a host.
    fn strike_first(&mut self, case: &str) -> Vec<String> {
        self.faults.arm(case);
        let mut first = self.unbegun();
        std::mem::swap(&mut self.test_host, &mut first);
        self.act(Story::First, None, None);
        let mut wrong = Vec::new();
        if let Some((pid, _)) = self.faults.struck(&mut wrong)
            && case.contains(" kill ")
        {
            wait_until_gone(pid);
        }
        let give_up_at = Instant::now() + ANSWERS_WITHIN;
        while self.test_host.host.gapless().run(["status"]).code != 0 && Instant::now() < give_up_at {
            self.test_host.revive();
            std::thread::sleep(POLL);
        }
        self.go_on(&mut wrong);
        // What it runs ends with it.
        std::mem::swap(&mut self.test_host, &mut first);
        wrong
    }

    /// The next deployment succeeds, and all is as it should be after it, too.
    fn go_on(&mut self, wrong: &mut Vec<String>) {
        self.test_host.build();
        let next = self.test_host.gapless.run(["deploy", "--force"]);
        if next.code != 0 {
            wrong.push(format!("the next deployment: {next:?}"));
        }
        wrong.extend(self.test_host.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
        if !wrong.is_empty() {
            wrong.extend(self.test_host.told());
        }
    }

    /// Without proxy and server there is nobody who holds the listening sockets, until the server is started again.
    fn answers_again(&mut self, load: &mut ExcusingLoad, killed_at: SystemTime) {
        self.test_host.revive();
        let give_up_at = Instant::now() + ANSWERS_WITHIN;
        while get(self.test_host.host.address(), "/", "Host: production.example\r\n").is_none()
            && Instant::now() < give_up_at
        {
            std::thread::sleep(POLL);
        }
        load.down(killed_at, SystemTime::now());
    }
}

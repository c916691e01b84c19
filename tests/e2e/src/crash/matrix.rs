//! The crash matrix: at each place before and after a durable write or an outside effect, the process is killed there,
//! the call fails, or it hangs; then all is as it should be, no request was lost, and the next deployment succeeds.

use super::{Excusing, Site, world};
use crate::cli::failing_program;
use crate::{App, Runtime};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// How long a process may take to come to a place.
const STRUCK_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const RATE_PER_S: u32 = 150;
const FAULTS: [&str; 3] = ["kill", "error", "hang"];

/// What is run of the matrix.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What runs the application.
    pub runtime: Runtime,
    /// Which points: `runtime.*`, say.
    pub points: String,
    /// Which faults; none means all.
    pub faults: Vec<String>,
    /// How many of the times that a deployment comes to a place are struck, from the first on.
    pub times: u32,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
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
    Restart,
}

const STORIES: [Story; 3] = [Story::Deploy, Story::Rollback, Story::Restart];

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
pub fn run(selection: &Selection, tell: &mut dyn FnMut(&str)) -> Outcome {
    let mut matrix = Matrix::new(selection.runtime);
    let reached = matrix.explore();
    let mut outcome = Outcome::default();
    let mut struck = BTreeSet::new();
    for point in points().into_iter().filter(|point| matches(&selection.points, point)) {
        for side in ["before", "after"] {
            let place = format!("{point}:{side}");
            let Some((story, times)) = reached.get(&place).copied() else { continue };
            outcome.places += 1;
            struck.insert(point.clone());
            for fault in FAULTS {
                if !selection.faults.is_empty() && !selection.faults.iter().any(|wanted| wanted == fault) {
                    continue;
                }
                for skip in 0..times.min(selection.times) {
                    let case = format!("{place} {fault} {skip}");
                    let began = Instant::now();
                    let (wrong, seen) = matrix.strike(story, &case);
                    outcome.faults += 1;
                    *outcome.by_fault.entry(fault.to_owned()).or_default() += 1;
                    outcome.requests += seen.requests;
                    outcome.excused += seen.excused;
                    let verdict = if wrong.is_empty() && seen.failed.is_empty() { "well" } else { "VIOLATED" };
                    let (failed, excused) = (seen.failed.len(), seen.excused);
                    let took = began.elapsed().as_secs_f64();
                    tell(&format!("{case} ({story:?}): {verdict}, {failed} failed, {excused} excused, {took:.1} s"));
                    for what in &wrong {
                        tell(&format!("    {what}"));
                    }
                    for what in seen.failed.iter().take(5) {
                        tell(&format!("    {what}"));
                    }
                    outcome.violations.extend(wrong.into_iter().map(|what| format!("{case}: {what}")));
                    outcome.failed.extend(seen.failed.into_iter().map(|what| format!("{case}: {what}")));
                }
            }
        }
        if !struck.contains(&point) {
            outcome.unreached.push(point);
        }
    }
    outcome.points = struck.len();
    outcome
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
    site: Site,
    faults: PathBuf,
    _folder: tempfile::TempDir,
}

impl Matrix {
    fn new(runtime: Runtime) -> Matrix {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let faults = folder.path().to_owned();
        let name = if runtime == Runtime::Docker { "crashed-container" } else { "crashed-process" };
        let app = App {
            deploy: "observe = \"300ms\"\nkeep_warm = \"10m\"\npark = true\n".to_owned(),
            tables: "[[hooks]]\nname = \"noted\"\nat = \"before-start\"\ncommand = [\"/bin/true\"]\n".to_owned(),
            ..App::new(name, runtime)
        };
        let variables = [format!("GAPLESS_FAULTS={}", faults.display())];
        let site = Site::new(app, Some(&failing_program()), &variables);
        Matrix { site, faults, _folder: folder }
    }

    /// Which places are come to, by which story, and how often in it.
    fn explore(&mut self) -> BTreeMap<String, (Story, u32)> {
        // Once without being looked at, so that both slots are in use as they are later.
        self.act(Story::Deploy);
        let mut reached = BTreeMap::new();
        for story in STORIES {
            let wrong = self.site.settle();
            assert!(wrong.is_empty(), "{wrong:?}\n{}", self.site.host.log());
            let trace = self.faults.join("trace");
            fs::write(&trace, "").expect("a file can be written");
            self.act(story);
            let wrong = self.site.settle();
            assert!(wrong.is_empty(), "{wrong:?}\n{}", self.site.host.log());
            let text = fs::read_to_string(&trace).expect("it was written");
            let _ = fs::remove_file(&trace);
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            text.lines().for_each(|place| *counts.entry(place.to_owned()).or_default() += 1);
            for (place, count) in counts {
                reached.entry(place).or_insert((story, count));
            }
        }
        reached
    }

    fn act(&mut self, story: Story) {
        match story {
            Story::Deploy => {
                self.site.build();
                // A server that is killed before it has recorded it has refused it.
                let _ = self.site.gapless.run(["deploy", "--force", "--detach"]);
            }
            Story::Rollback => drop(self.site.gapless.run(["rollback", "--detach"])),
            Story::Restart => {
                self.site.host.kill_server();
                self.site.revive();
            }
        }
    }

    /// One case: what was not as it should be, and what the load saw.
    fn strike(&mut self, story: Story, case: &str) -> (Vec<String>, super::site::Seen) {
        for entry in fs::read_dir(&self.faults).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let mut load = Excusing::start(&self.site.host, RATE_PER_S);
        fs::write(self.faults.join("armed.new"), case).expect("a file can be written");
        fs::rename(self.faults.join("armed.new"), self.faults.join("armed")).expect("it can be renamed");
        self.act(story);
        let mut wrong = Vec::new();
        match self.struck() {
            None => {
                let _ = fs::remove_file(self.faults.join("armed"));
                wrong.push("nothing came there".to_owned());
            }
            Some((pid, at)) if case.contains(" kill ") => {
                if case.starts_with("table.") {
                    load.killed_at(at);
                }
                // Nothing is looked at before it is gone.
                let give_up_at = Instant::now() + STRUCK_WITHIN;
                while world::is_alive(pid) && Instant::now() < give_up_at {
                    std::thread::sleep(POLL);
                }
            }
            Some(_) => {}
        }
        wrong.extend(self.site.settle());
        self.site.build();
        let next = self.site.gapless.run(["deploy", "--force"]);
        if next.code != 0 {
            wrong.push(format!("the next deployment: {next:?}"));
        }
        wrong.extend(self.site.settle().into_iter().map(|what| format!("after the next deployment: {what}")));
        if !wrong.is_empty() {
            wrong.extend(self.site.told());
        }
        (wrong, load.stop())
    }

    /// The process that was struck, and when.
    fn struck(&mut self) -> Option<(u32, SystemTime)> {
        let give_up_at = Instant::now() + STRUCK_WITHIN;
        while Instant::now() < give_up_at {
            for entry in fs::read_dir(&self.faults).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| name.strip_prefix("struck.")?.parse().ok());
                if let (Some(pid), Ok(file)) = (pid, entry.metadata()) {
                    let since =
                        Duration::new(file.ctime().unsigned_abs(), u32::try_from(file.ctime_nsec()).unwrap_or(0));
                    return Some((pid, SystemTime::UNIX_EPOCH + since));
                }
            }
            std::thread::sleep(POLL);
        }
        None
    }
}

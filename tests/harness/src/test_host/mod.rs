//! A host with an application under load, on which processes crash, and the check that everything is consistent.

mod excusing_load;
mod stack;

pub use excusing_load::{ExcusingLoad, LoadResult};
pub use stack::TestStack;

use crate::app::{App, Runtime};
use crate::cli::Gapless;
use crate::deps::docker;
use crate::host::Host;
use crate::net::get;
use crate::programs::example_program;
use crate::system;
use crate::wait::wait_for;
use gapless_api::{ApplicationView, SlotState, SlotView};
use gapless_core::Deployment;
use gapless_core::application::Desired;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// The maximum time until everything is consistent after a fault.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The maximum time until a removed application is gone. Shorter than a controller's own polling interval, so that the
/// test notices a missing notification.
const REMOVED_WITHIN: Duration = Duration::from_secs(20);
/// The number of lines of the server's log in a failure message.
const LOG_LINES: usize = 30;
/// The maximum time until all killed processes are gone.
const KILLED_DEADLINE: Duration = Duration::from_secs(30);

/// A host with an application on it.
pub struct TestHost {
    /// The host.
    pub host: Host,
    /// The command line, in the application's folder.
    pub gapless: Gapless,
    app: App,
    /// A copy of the example program, changed for each release, so that each release of a process has its own program.
    program: PathBuf,
    builds: u32,
    /// The value of `DOCKER_HOST` for the Engine of its containers; `None` is the usual Engine.
    engine: Option<String>,
    /// The other programs that the host uses. Declared last: it ends after the host.
    stack: TestStack,
}

impl TestHost {
    /// A host with release 1 live; its server is `program` (default: the usual binary) with these environment
    /// variables.
    #[must_use]
    pub fn new(app: App, program: Option<&Path>, variables: &[String]) -> Self {
        TestHost::on_stack(TestStack::default(), app, program, variables)
    }

    /// The same on a prepared stack.
    #[must_use]
    pub fn on_stack(stack: TestStack, app: App, program: Option<&Path>, variables: &[String]) -> Self {
        let mut test_host = TestHost::unstarted(stack, app, program, variables);
        test_host.start();
        test_host
    }

    /// The same on a prepared host.
    #[must_use]
    pub fn on(host: Host, app: App) -> Self {
        let mut test_host = TestHost::prepared(host, app, TestStack::default());
        test_host.start();
        test_host
    }

    /// The same, with the server not started yet and no state written.
    #[must_use]
    pub fn unstarted(stack: TestStack, app: App, program: Option<&Path>, variables: &[String]) -> Self {
        TestHost::prepared(host(stack.address(), program, variables), app, stack)
    }

    fn prepared(host: Host, app: App, stack: TestStack) -> Self {
        host.configure(&format!("{}[registry]\nenabled = true\n", stack.server_config()));
        let program = host.folder().join("program");
        fs::copy(example_program(), &program).expect("the program can be copied");
        let gapless = host.gapless().within(&host.folder().join(&app.name));
        TestHost { host, gapless, app, program, builds: 0, engine: None, stack }
    }

    fn start(&mut self) {
        self.host.start_server();
        self.build();
        self.gapless.ok(["deploy", "--force"]);
    }

    /// The application's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.app.name
    }

    /// Sets the Engine on which its containers are counted, in the form of `DOCKER_HOST`.
    pub fn on_engine(&mut self, host: &str) {
        self.engine = Some(host.to_owned());
    }

    /// Sets the misbehaviour of the next releases; `None` is well-behaved.
    pub fn misbehave(&mut self, how: Option<&str>) {
        self.app.misbehave = how.map(str::to_owned);
    }

    /// Prepares another release to deploy; a process gets another program.
    pub fn build(&mut self) {
        self.builds += 1;
        let folder = self.app.write(self.host.folder());
        if self.app.runtime == Runtime::Docker {
            return;
        }
        // Bytes after the end of a program are ignored. Two variants are enough, and need little disk space.
        let beside = self.program.with_extension("new");
        fs::copy(example_program(), &beside).expect("the program can be copied");
        let mut bytes = fs::OpenOptions::new().append(true).open(&beside).expect("the file can be written");
        std::io::Write::write_all(&mut bytes, &(self.builds % 2).to_le_bytes()).expect("the file can be written");
        drop(bytes);
        fs::rename(&beside, &self.program).expect("the file can be renamed");
        let file = folder.join("gapless.toml");
        let text = fs::read_to_string(&file).expect("the file was written");
        let example = example_program().display().to_string();
        fs::write(&file, text.replace(&example, &self.program.display().to_string())).expect("the file can be written");
    }

    /// Kills everything at once, except strace, which exits by itself, and `timeout`, which limits the test's time.
    pub fn power_off(&mut self) {
        wait_for("all processes are gone", KILLED_DEADLINE, || {
            let is = |process: &system::Process, name: &str| process.words[0].ends_with(name);
            let mut all = system::processes(self.host.folder());
            all.retain(|process| !is(process, "timeout"));
            all.iter().filter(|process| !is(process, "strace")).for_each(|process| system::kill(process.pid));
            all.is_empty().then_some(())
        });
        self.host.kill_server();
    }

    /// Deploys another small application, and returns the command line in its folder.
    #[must_use]
    pub fn deploy_second_application(&self) -> Gapless {
        let name = self.second_name();
        let app = App {
            hosts: vec![format!("{name}.example")],
            // While the number of requests in flight is unknown, a drain lasts until its deadline.
            deploy: "observe = \"100ms\"\ndrain_timeout = \"1s\"\n".to_owned(),
            ..App::new(&name, self.app.runtime)
        };
        let gapless = self.host.gapless().within(&app.write(self.host.folder()));
        gapless.ok(["deploy", "--force"]);
        gapless
    }

    fn second_name(&self) -> String {
        format!("{}-aside", self.app.name)
    }

    /// Waits until the other application is gone, and returns the remains at the deadline. A second removal is
    /// requested only if none was recorded, since the first was refused.
    pub fn settle_removal(&mut self, second: &Gapless) -> Vec<String> {
        let give_up_at = Instant::now() + REMOVED_WITHIN;
        let mut again: Option<Child> = None;
        loop {
            self.restart_if_exited();
            let ran = second.run(["status", "--json"]);
            let mut views: Option<Vec<ApplicationView>> = serde_json::from_str(&ran.stdout).ok();
            views.iter_mut().for_each(|views| views.retain(|view| view.app.as_str() == self.second_name()));
            let is_asking = again.as_mut().is_some_and(|command| matches!(command.try_wait(), Ok(None)));
            match views {
                Some(views) if views.is_empty() => return Vec::new(),
                Some(views) if !is_asking && views.iter().any(|view| view.desired != Desired::Removed) => {
                    again = Some(second.spawn(["remove", "--yes"]));
                }
                _ => {}
            }
            if Instant::now() >= give_up_at {
                return vec![format!("{} was removed and is still there: {ran:?}", self.second_name())];
            }
            std::thread::sleep(POLL);
        }
    }

    /// The views of all environments of the application.
    #[must_use]
    pub fn views(&self) -> Vec<ApplicationView> {
        let ran = self.gapless.run(["status", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    /// Starts the server again if it has exited.
    pub fn restart_if_exited(&mut self) {
        let has_ended = self.host.server_pid().is_none_or(|pid| !system::is_alive(pid));
        if has_ended {
            // The main thread can exit before the other threads.
            self.host.kill_server();
            self.host.spawn_server();
        }
    }

    /// Waits until everything is consistent, and returns the problems at the deadline.
    pub fn settle(&mut self) -> Vec<String> {
        let give_up_at = Instant::now() + SETTLE_DEADLINE;
        loop {
            self.restart_if_exited();
            let wrong = self.wrong();
            if wrong.is_empty() || Instant::now() >= give_up_at {
                return wrong;
            }
            std::thread::sleep(POLL);
        }
    }

    /// The current inconsistencies: there must be one live slot, records, routes and running instances must agree, and
    /// nothing may be left over.
    fn wrong(&self) -> Vec<String> {
        let views = self.views();
        if views.is_empty() {
            return vec!["the server does not list the application".to_owned()];
        }
        let mut wrong = Vec::new();
        for view in &views {
            self.check(view, &mut wrong);
        }
        let state = self.host.folder().join("state");
        let recorded: BTreeSet<String> = views
            .iter()
            .flat_map(|view| &view.slots)
            .filter(|slot| slot.state != SlotState::Stopped)
            .flat_map(|slot| &slot.instances)
            .map(|instance| instance.name.clone())
            .collect();
        if self.app.runtime == Runtime::Docker {
            let containers = docker::containers(&self.app.name, self.engine.as_deref());
            if containers != recorded {
                wrong.push(format!("containers {containers:?}, recorded {recorded:?}"));
            }
        }
        let of_processes = if self.app.runtime == Runtime::Docker { BTreeSet::new() } else { recorded };
        let folders = system::instance_folders(&state);
        if folders != of_processes {
            wrong.push(format!("folders of {folders:?}, recorded {of_processes:?}"));
        }
        let processes = system::processes(self.host.folder());
        for process in &processes {
            if let Some(instance) = &process.instance
                && !of_processes.contains(instance)
                && !process.is("server")
            {
                wrong.push(format!("process {} of {instance} is left over", process.pid));
            }
        }
        let proxies = processes.iter().filter(|process| process.is("proxy")).count();
        if proxies != usize::from(self.stack.nginx.is_none()) {
            wrong.push(format!("{proxies} proxies"));
        }
        let mut unfinished = system::unfinished(&state);
        unfinished.extend(self.stack.nginx.iter().flat_map(|nginx| system::unfinished(&nginx.config_dir())));
        wrong.extend(unfinished.into_iter().map(|file| format!("{file} is left over")));
        wrong
    }

    /// Returns whether the program of a process instance runs.
    fn runs(&self, instance: &str) -> bool {
        let processes = system::processes(self.host.folder());
        processes.iter().any(|process| process.instance.as_deref() == Some(instance) && !process.is("shim"))
    }

    fn check(&self, view: &ApplicationView, wrong: &mut Vec<String>) {
        let env = &view.env;
        if view.active.is_some() || !view.queue.is_empty() {
            wrong.push(format!("{env}: a deployment has not ended"));
        }
        let live: Vec<_> = view.slots.iter().filter(|slot| slot.state == SlotState::Live).collect();
        let [live] = live.as_slice() else {
            wrong.push(format!("{env}: {} live slots", live.len()));
            return;
        };
        if view.live != Some(live.slot) || !view.planes_behind.is_empty() {
            wrong.push(format!("{env}: live {:?}, behind {:?}", view.live, view.planes_behind));
        }
        if live.instances.iter().any(|instance| !instance.in_rotation) {
            wrong.push(format!("{env}: not all instances are in rotation"));
        }
        let is_settled = |slot: &SlotView| match slot.state {
            SlotState::Live | SlotState::Parked | SlotState::Stopped => true,
            // A standby slot with a dead instance is not frozen as a whole; a rollback starts it again.
            SlotState::Standby => slot.instances.iter().any(|instance| !self.runs(&instance.name)),
            _ => false,
        };
        if let Some(other) = view.slots.iter().find(|slot| !is_settled(slot)) {
            wrong.push(format!("{env}: {} is {:?}", other.slot, other.state));
        }
        let answered = get(self.host.address(), "/", &format!("Host: {env}.example\r\n"));
        let release = format!("x-release: {}\r\n", live.release);
        if !answered.as_ref().is_some_and(|(status, text)| *status == 200 && text.to_lowercase().contains(&release)) {
            let head = answered.map(|(_, text)| text.lines().take(8).collect::<Vec<_>>().join(" | "));
            wrong.push(format!("{env}: release {} is recorded, answered {head:?}", live.release));
        }
    }

    /// The latest deployments and the end of the server's log, for failure messages.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<String> {
        let ran = self.gapless.run(["history", "--json", "-n", "3"]);
        let latest: Vec<Deployment> = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let latest = latest.iter().map(|d| format!("deployment {}: {:?}", d.number, d.phase));
        let log = self.host.log();
        let lines: Vec<_> = log.lines().collect();
        let end = lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|line| format!("log: {line}"));
        latest.chain(end).collect()
    }
}

/// A host with no server yet; its server is `program` (default: the usual binary) with these environment variables.
fn host(address: SocketAddr, program: Option<&Path>, variables: &[String]) -> Host {
    let mut host = Host::prepared(address);
    if let Some(program) = program {
        host.program(program);
    }
    let starter: Vec<&str> = std::iter::once("env").chain(variables.iter().map(String::as_str)).collect();
    host.starter(&starter);
    host
}

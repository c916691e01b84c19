//! The recording of a real server at work: all writes of the server, its proxy and its processes.

use super::content::Found;
use super::disk::{Disk, Names};
use super::history::{APP, History, State};
use super::paths::{STATE, TABLE, files_below};
use super::trace::{self, Change, Event, Syncs};
use gapless_core::application::Desired;
use gapless_core::{Application, Phase, RouteTable};
use gapless_harness::{App, Host, Runtime, TestHost, free_port, system, wait_for};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A recording.
pub struct Recording {
    pub(super) test_host: TestHost,
    /// The files at the end of the recording.
    pub(super) programs: PathBuf,
    pub(super) events: Vec<Event>,
    pub(super) history: History,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// The tables that the proxy put in place: the number of preceding events, and the version.
    pub(super) tables: Vec<(usize, u64)>,
    pub(super) syncs: Syncs,
}

impl Recording {
    /// The size of the recording.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let is_sync = |event: &&Event| matches!(event.change, Change::Sync { .. });
        let syncs = self.events.iter().filter(is_sync).count();
        Counts { writes: self.events.len() - syncs, syncs, acknowledged: self.acknowledged.len() }
    }
}

/// The size of a recording.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Changes of files, lengths and names.
    pub writes: usize,
    /// Syncs of files and folders.
    pub syncs: usize,
    /// Acknowledged changes.
    pub acknowledged: usize,
}

/// An acknowledged change.
pub(super) struct Acknowledged {
    /// The command.
    pub(super) what: &'static str,
    /// The number of events before the acknowledgement.
    pub(super) events: usize,
    /// The first revision that contains the change.
    pub(super) revision: u64,
    /// The acknowledgement covers the routes, too.
    pub(super) is_routed: bool,
}

/// The condition that the records meet once the change is made.
type IsSo = Box<dyn Fn(&State) -> bool>;

struct Claim {
    what: &'static str,
    log_bytes: u64,
    is_so: IsSo,
    is_routed: bool,
}

/// Records so many rounds of deployments and other commands.
#[must_use]
pub fn record(rounds: u32, syncs: Syncs) -> Recording {
    let app = App {
        deploy: "observe = \"200ms\"\nkeep_warm = \"10m\"\npark = true\n".to_owned(),
        tables: "[environments.production]\nhosts = [\"production.example\", \"127.0.0.1\", \"localhost\"]\n"
            .to_owned(),
        ..App::new(APP, Runtime::Process)
    };
    let mut host = Host::prepared(SocketAddr::from(([127, 0, 0, 1], free_port())));
    let (log, over) = (host.folder().join("trace"), host.folder().join("over"));
    let mut starter = trace::recorder(&log, syncs);
    // The restarting shell is traced, too, so that there is one log of everything.
    starter.extend(["bash", "-c", "until [ -e \"$0\" ]; do \"$@\"; done"].map(str::to_owned));
    starter.push(over.display().to_string());
    host.starter(&starter.iter().map(String::as_str).collect::<Vec<_>>());
    let mut test_host = TestHost::on(host, app);
    let mut claims = Vec::new();
    for round in 0..rounds {
        story(&mut test_host, &log, round, &mut claims);
    }
    fs::write(over, "").expect("the file can be written");
    test_host.power_off();
    let folder = test_host.host.folder();
    let events = trace::read(&fs::read(&log).expect("the log was written"), folder, STATE);
    let programs = folder.join("at-the-end");
    fs::create_dir(&programs).expect("the folder can be created");
    fs::rename(folder.join(STATE), programs.join(STATE)).expect("a folder can be renamed");
    is_as_recorded(&events, &programs);
    let history = History::read(&programs.join(STATE));
    let acknowledged = in_the_history(claims, &history, &events);
    let tables = tables(&events);
    Recording { test_host, programs, events, history, acknowledged, tables, syncs }
}

/// Runs commands, each until it is acknowledged.
fn story(test_host: &mut TestHost, log: &Path, round: u32, claims: &mut Vec<Claim>) {
    let gapless = test_host.gapless.clone();
    let log_bytes = || fs::metadata(log).expect("there is a log").len();
    // A failing sync may fail the command.
    let done = |arguments: &[&str]| {
        wait_for("the command succeeds", DEADLINE, || (gapless.run(arguments).code == 0).then(log_bytes))
    };
    let newest = || gapless.latest();
    let mut acknowledged = |log_bytes: u64, what: &'static str, is_routed: bool, is_so: IsSo| {
        claims.push(Claim { what, log_bytes, is_so, is_routed });
    };

    test_host.build();
    acknowledged(done(&["deploy", "--force"]), "deploy", false, ended(newest().number));
    test_host.build();
    acknowledged(done(&["deploy", "--force", "--detach"]), "deploy --detach", false, recorded(newest().number));
    let number = newest().number;
    let at = wait_for("the deployment ends", DEADLINE, || newest().phase.is_end().then(log_bytes));
    acknowledged(at, "deploy --detach, to its end", false, ended(number));
    acknowledged(done(&["rollback"]), "rollback", false, went_back(newest().number));
    let is_so =
        |is_so: fn(&Application) -> bool| -> IsSo { Box::new(move |state| state.app().as_ref().is_some_and(is_so)) };
    acknowledged(done(&["maintenance", "on"]), "maintenance on", true, is_so(|app| app.maintenance.is_some()));
    acknowledged(done(&["maintenance", "off"]), "maintenance off", true, is_so(|app| app.maintenance.is_none()));
    acknowledged(done(&["stop"]), "stop", true, is_so(|app| app.desired == Desired::Stopped));
    acknowledged(done(&["start"]), "start", false, is_so(|app| app.desired == Desired::Running));
    // The next server starts on the state that this server leaves; every other server exits in order.
    let signal = if round.is_multiple_of(2) { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
    let before = test_host.host.server_info().pid;
    system::signal(before, signal);
    wait_for("another server answers", DEADLINE, || {
        let is_there = gapless.run(["status"]).code == 0;
        (is_there && test_host.host.server_info().pid != before).then_some(())
    });
    assert_eq!(test_host.settle(), Vec::<String>::new());
}

fn ended(number: u64) -> IsSo {
    Box::new(move |state| state.deployment(number).is_some_and(|deployment| deployment.phase.is_end()))
}

/// The rollback need not have ended.
fn went_back(number: u64) -> IsSo {
    Box::new(move |state| state.deployment(number).is_some_and(|it| it.phase == Phase::Retiring || it.phase.is_end()))
}

fn recorded(number: u64) -> IsSo {
    Box::new(move |state| state.deployment(number).is_some())
}

/// Checks that the log is complete: replayed, it gives the real files.
fn is_as_recorded(events: &[Event], folder: &Path) {
    let mut disk = Disk::new(Names::Loose, None);
    events.iter().for_each(|event| disk.take(event));
    let live = disk.live();
    for (path, found) in &live {
        if let Found::Bytes(bytes) = found {
            let really = fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                really == *bytes,
                "{} is not as it was recorded: {} and {} bytes",
                path.display(),
                really.len(),
                bytes.len()
            );
        }
    }
    for path in files_below(folder) {
        let is_recorded = live.contains_key(path.strip_prefix(folder).unwrap_or(&path));
        assert!(is_recorded || path.to_string_lossy().ends_with("-shm"), "{} was not recorded", path.display());
    }
}

/// The acknowledged changes, each with the first revision that contains it.
fn in_the_history(claims: Vec<Claim>, history: &History, events: &[Event]) -> Vec<Acknowledged> {
    let mut revision = 0;
    let found = claims.into_iter().map(|claim| {
        // A later acknowledgement belongs to a later revision.
        revision = history
            .first(revision, &claim.is_so)
            .unwrap_or_else(|| panic!("{} was acknowledged but is in no revision", claim.what));
        let events = events.iter().take_while(|event| event.log_bytes <= claim.log_bytes).count();
        Acknowledged { what: claim.what, events, revision, is_routed: claim.is_routed }
    });
    found.collect()
}

fn tables(events: &[Event]) -> Vec<(usize, u64)> {
    let mut disk = Disk::new(Names::Loose, None);
    let mut tables = Vec::new();
    for (at, event) in events.iter().enumerate() {
        disk.take(event);
        if matches!(&event.change, Change::Rename { to, .. } if to == Path::new(TABLE))
            && let Some(Found::Bytes(bytes)) = disk.found(Path::new(TABLE))
        {
            // The second line of the table is a checksum.
            let table = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let table: RouteTable = serde_json::from_slice(table).expect("the table is JSON");
            tables.push((at, table.version));
        }
    }
    tables
}

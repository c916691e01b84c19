//! Kills, errors and hangs anywhere: one release is live, no request is lost, nothing is left over, and the next
//! deployment succeeds. A short part of `./scripts/scenario crash-matrix` and `kills`.

use gapless_harness::{App, Runtime, wait_for};
use gapless_harness::{ExcusingLoad, TestHost};
use gapless_scenarios::crash::kills::{self, Settings};
use gapless_scenarios::crash::matrix::{self, Selection};
use rustix::process::Signal;
use std::time::Duration;

/// The commit of the cutover, the first write of a start, the step that puts a table in place, and points at which the
/// crash matrix has found bugs.
const POINTS: [&str; 8] = [
    "store.application",
    "runtime.start",
    "plane.change",
    "process.rename",
    "process.remove",
    "table.rename",
    "proxy.start",
    "proxy.give",
];

/// Failure mode A1.
#[test]
fn kill_or_error_at_any_point_leaves_consistent_state() {
    let selection = Selection { faults: vec!["kill".to_owned(), "error".to_owned()], ..at(&POINTS) };
    let outcome = matrix::run(&selection, &mut |line| println!("{line}"));
    assert!(outcome.violations.is_empty() && outcome.failed.is_empty(), "{outcome:#?}");
    assert!(outcome.points == POINTS.len() && outcome.faults == 4 * POINTS.len() as u64, "{outcome:#?}");
}

/// The failpoints of other stacks: the file with the server's id, with etcd as the store, and an nginx file that is
/// removed with its application.
///
/// Failure mode A1.
#[test]
fn etcd_and_nginx_failpoints_leave_consistent_state() {
    let on_etcd = Selection { is_on_etcd: true, ..at(&["server.id"]) };
    let behind_nginx = Selection { is_behind_nginx: true, ..at(&["nginx.remove"]) };
    for selection in [on_etcd, behind_nginx] {
        let outcome = matrix::run(&selection, &mut |line| println!("{line}"));
        assert!(outcome.violations.is_empty() && outcome.failed.is_empty(), "{outcome:#?}");
        assert!(outcome.points == 1 && outcome.faults == 6, "{outcome:#?}");
    }
}

fn at(points: &[&str]) -> Selection {
    Selection {
        runtime: Runtime::Process,
        is_behind_nginx: false,
        is_on_etcd: false,
        points: points.iter().map(|point| (*point).to_owned()).collect(),
        faults: Vec::new(),
        times: 1,
        is_in_each_story: false,
    }
}

/// Regression: the previous routes came back when an operation learned of its commit after a deployment had gone on.
///
/// Failure mode A1.
#[test]
fn late_commit_notice_restores_no_old_routes() {
    let selection = Selection { faults: vec!["hang".to_owned()], times: 2, ..at(&["store.application"]) };
    let outcome = matrix::run(&selection, &mut |line| println!("{line}"));
    assert!(outcome.violations.is_empty() && outcome.failed.is_empty(), "{outcome:#?}");
}

/// Failure mode A2.
#[test]
fn hundred_rounds_of_random_kills_need_no_repair() {
    let settings = Settings { rounds: 100, within: Duration::from_secs(300), seed: 5 };
    let outcome = kills::run(settings, &|line| println!("{line}"));
    assert_eq!(outcome.repairs, 0, "{outcome:#?}");
    assert!(outcome.failed.is_empty(), "{outcome:#?}");
    assert!(outcome.rounds >= 50, "only {} rounds in five minutes", outcome.rounds);
}

/// A signal in each phase: the outcome equals that of a kill, and the server exits in order.
///
/// Failure mode A9.
#[test]
fn signal_in_each_phase_leaves_consistent_state() {
    let app = App {
        deploy: "observe = \"400ms\"\nkeep_warm = \"300ms\"\ndrain_timeout = \"500ms\"\npark = true\n".to_owned(),
        ..App::new("signalled", Runtime::Process)
    };
    let mut test_host = TestHost::new(app, None, &[]);
    for phase in ["preparing", "starting", "checking", "shifting", "observing", "retiring"] {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let load = ExcusingLoad::start(&test_host.host, 150);
            test_host.build();
            test_host.gapless.ok(["deploy", "--force", "--detach"]);
            // The phase may have passed before it is seen; then the signal follows right after.
            wait_for(phase, Duration::from_secs(30), || {
                (place(test_host.gapless.latest().phase.name()) >= place(phase)).then_some(())
            });
            test_host.host.signal_server(signal);
            wait_for("the server ends", Duration::from_secs(20), || test_host.host.server_ended());
            let wrong = test_host.settle();
            assert!(wrong.is_empty(), "{signal:?} while {phase}: {wrong:#?}\n{:#?}", test_host.diagnostics());
            let seen = load.stop();
            assert!(seen.failed.is_empty() && seen.requests > 0, "{signal:?} while {phase}: {seen:#?}");
            assert_eq!(test_host.gapless.latest().phase.name(), "succeeded", "{signal:?} while {phase}");
        }
    }
}

/// The index of a phase in the order of phases.
fn place(phase: &str) -> usize {
    let phases = ["queued", "preparing", "starting", "checking", "shifting", "observing", "retiring"];
    phases.iter().position(|known| *known == phase).unwrap_or(phases.len())
}

//! G1, G2, A1: whatever is killed, fails or hangs, wherever: one release is live, no request is lost, nothing is left over,
//! and the next deployment succeeds. All of it: `./scripts/scenario crash-matrix` and `kills`; here a part that is short.

use gapless_e2e::Runtime;
use gapless_e2e::crash::kills::{self, Settings};
use gapless_e2e::crash::matrix::{self, Selection};
use std::time::Duration;

/// The cutover's commit, the first write of a start, the step at which a table is in its place, and what the crash matrix
/// has found.
const POINTS: [&str; 6] =
    ["store.application", "runtime.start", "plane.change", "process.rename", "process.remove", "table.rename"];

#[test]
fn a1_where_a_process_is_killed_all_is_as_it_should_be_afterwards() {
    for points in POINTS {
        let selection = Selection {
            runtime: Runtime::Process,
            points: points.to_owned(),
            faults: vec!["kill".to_owned(), "error".to_owned()],
            times: 1,
        };
        let outcome = matrix::run(&selection, &mut |line| println!("{line}"));
        assert!(outcome.violations.is_empty() && outcome.failed.is_empty(), "{outcome:#?}");
        assert!(outcome.points == 1 && outcome.faults == 4, "{outcome:#?}");
    }
}

/// The routes of before came back when an operation told of its commit after a deployment had gone on.
#[test]
fn a1_a_commit_that_is_told_of_late_brings_no_old_routes_back() {
    let selection = Selection {
        runtime: Runtime::Process,
        points: "store.application".to_owned(),
        faults: vec!["hang".to_owned()],
        times: 2,
    };
    let outcome = matrix::run(&selection, &mut |line| println!("{line}"));
    assert!(outcome.violations.is_empty() && outcome.failed.is_empty(), "{outcome:#?}");
}

#[test]
fn a1_fifteen_rounds_of_random_kills_need_no_hands() {
    let settings = Settings { rounds: 15, within: Duration::from_secs(120), seed: 5 };
    let outcome = kills::run(settings, &mut |line| println!("{line}"));
    assert_eq!(outcome.repairs, 0, "{outcome:#?}");
    assert!(outcome.failed.is_empty(), "{outcome:#?}");
}

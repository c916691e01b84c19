//! A11, A12, A13, B15, B19, C4: a Docker Engine that dies, hangs, lies, loses its firewall, is full: no request is lost, no
//! deployment is taken back for it, nothing is stopped that is well, and no stranger answers. All of it:
//! `./scripts/scenario sick-docker`; here a part that is short.

use gapless_scenarios::sick::cases::{self, Selection};
use gapless_scenarios::sick::deaths::{self, Episode};

fn happens(episodes: &[Episode]) -> deaths::DeathsReport {
    let outcome = deaths::run(episodes, &mut |line| println!("{line}"));
    assert!(outcome.failed.is_empty() && outcome.violations.is_empty(), "{outcome:#?}");
    assert!(outcome.wrong_answers.is_empty() && outcome.false_reverts.is_empty(), "{outcome:#?}");
    assert_eq!(outcome.episodes, episodes.len() as u64);
    outcome
}

fn meets(calls: &str, faults: &[&str]) {
    let faults: Vec<String> = faults.iter().map(|fault| (*fault).to_owned()).collect();
    let count = faults.len() as u64;
    let selection = Selection { calls: calls.to_owned(), faults, rounds: 0, seed: 0 };
    let outcome = cases::run(&selection, &mut |line| println!("{line}"));
    assert!(outcome.failed.is_empty() && outcome.violations.is_empty(), "{outcome:#?}");
    assert!(outcome.wrong_stops.is_empty() && outcome.false_reverts.is_empty(), "{outcome:#?}");
    assert!(outcome.cases == count && outcome.faults >= count, "{outcome:#?}");
}

#[test]
fn a11_an_engine_that_is_killed_takes_no_deployment_back() {
    happens(&[Episode::Killed, Episode::KilledWhile("observing")]);
}

#[test]
fn a12_an_engine_that_hangs_loses_no_request() {
    meets("GET /containers/json", &["hang"]);
}

#[test]
fn a13_an_engine_that_lies_is_not_believed() {
    meets("GET /containers/*/json", &["404+", "half"]);
}

#[test]
fn b15_no_stranger_gets_the_address_of_an_instance() {
    let outcome = happens(&[Episode::KilledWithoutServer, Episode::AddressWantedWithoutServer]);
    assert_eq!(outcome.moved, 0, "{outcome:#?}");
}

#[test]
fn b19_c4_without_a_firewall_and_on_a_full_disk_the_old_release_serves_and_the_next_deployment_succeeds() {
    happens(&[Episode::Flushed, Episode::Full]);
}

//! A Docker Engine that dies, hangs, sends wrong answers, loses its firewall, or is full: no request is lost, no good
//! release is reverted, no good container is stopped, and no foreign container answers. A short part of
//! `./scripts/scenario sick-docker`.

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

/// Failure mode A11.
#[test]
fn killed_engine_reverts_no_deployment() {
    happens(&[Episode::Killed, Episode::KilledWhile("observing")]);
}

/// Failure mode A12.
#[test]
fn hanging_engine_loses_no_request() {
    meets("GET /containers/json", &["hang"]);
}

/// Failure mode A13.
#[test]
fn wrong_engine_answers_stop_no_instance() {
    meets("GET /containers/*/json", &["404+", "half"]);
}

/// Failure mode B15.
#[test]
fn instance_address_goes_to_no_foreign_container() {
    let outcome = happens(&[Episode::KilledWithoutServer, Episode::AddressWantedWithoutServer]);
    assert_eq!(outcome.moved, 0, "{outcome:#?}");
}

/// Failure modes B19 and C4.
#[test]
fn next_deploy_succeeds_after_firewall_flush_and_full_disk() {
    happens(&[Episode::Flushed, Episode::Full]);
}

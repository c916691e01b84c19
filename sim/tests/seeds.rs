//! Many seeds in every test run, the seeds that once failed, and the replay of seeds.

/// They take less than five minutes on two idle cores. `./scripts/sim --seeds N` runs any number.
const SEEDS: u64 = 20_000;

/// Seeds that once failed, because of a bug in gapless or a wrong rule in the simulator: each must stay good. The bugs
/// are in `docs/reliability.md`, by their ids.
const FOUND: [(u64, &str); 7] = [
    (9310, "R-082: an application that was removed during the start of an instance left that instance running"),
    (1213, "R-001: drains were a tenth short after the wall clock had been set, in the first version of the fix"),
    (1215, "R-001: the same, while an application was stopped"),
    (1366, "R-001: the same, with services without routes"),
    (1946, "R-001: the same"),
    (1609, "an application has no instance yet just after its start: the rule was too strict"),
    (17, "the numbers of a removed application start again: the rule of hooks was too strict"),
];

#[test]
fn twenty_thousand_seeds_break_no_rule() {
    let summary = gapless_sim::run_many(0..SEEDS).unwrap();
    let failed: Vec<_> = summary.failed.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
    let replay = "replay one with `./scripts/sim --seed N`";
    assert!(failed.is_empty(), "{} seeds failed; {replay}:\n{}", failed.len(), failed.join("\n"));
    let (deployments, requests) = (summary.deployments, summary.requests);
    assert!(deployments > 10 * SEEDS && requests > 100 * SEEDS, "too little activity: {deployments}, {requests}");
}

#[test]
fn formerly_failed_seeds_break_no_rule() {
    for (seed, found) in FOUND {
        let outcome = gapless_sim::run(seed).unwrap();
        let timeline = outcome.timeline.join("\n");
        assert!(outcome.violations.is_empty(), "seed {seed} ({found}): {:?}\n{timeline}", outcome.violations);
    }
}

#[test]
fn same_seed_gives_same_timeline() {
    let mut deployments = 0;
    // These seeds include simulations with one server and with two.
    for seed in 0..12 {
        let first = gapless_sim::run(seed).unwrap();
        let second = gapless_sim::run(seed).unwrap();
        assert!(!first.timeline.is_empty(), "the timeline is empty");
        assert_eq!(first.timeline, second.timeline, "seed {seed}");
        deployments += first.deployments;
    }
    assert!(deployments > 12, "no deployment ended");
}

//! Many seeds in every test run, those that once found something, and the same seed twice.

/// On two quiet cores they take less than five minutes. `./scripts/sim --seeds N` runs as many as you like.
const SEEDS: u64 = 20_000;

/// Seeds that found something in gapless, or in the simulator's own rules, when they were run first: each must stay good.
/// What they found is in `docs/reliability.md`, by its id.
const FOUND: [(u64, &str); 7] = [
    (9310, "R-082: an application that was removed while an instance of it was being started left that running"),
    (1213, "R-001: drains were a tenth short after the wall clock had been set, in the first version of its fix"),
    (1215, "R-001: the same, while an application was stopped"),
    (1366, "R-001: the same, with services that have no routes"),
    (1946, "R-001: the same"),
    (1609, "an application that is started again has no instance yet: the rule was too strict"),
    (17, "a removed application's numbers begin anew: the rule of hooks was too strict"),
];

#[test]
fn twenty_thousand_seeds_break_no_rule() {
    let summary = gapless_sim::run_many(0..SEEDS).unwrap();
    let failed: Vec<_> = summary.failed.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
    let replay = "replay one with `./scripts/sim --seed N`";
    assert!(failed.is_empty(), "{} seeds failed; {replay}:\n{}", failed.len(), failed.join("\n"));
    let (deployments, requests) = (summary.deployments, summary.requests);
    assert!(deployments > 10 * SEEDS && requests > 100 * SEEDS, "hardly anything happened: {deployments}, {requests}");
}

#[test]
fn seeds_that_found_something_stay_good() {
    for (seed, found) in FOUND {
        let outcome = gapless_sim::run(seed).unwrap();
        let story = outcome.story.join("\n");
        assert!(outcome.violations.is_empty(), "seed {seed} ({found}): {:?}\n{story}", outcome.violations);
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let mut deployments = 0;
    // Among them are simulations with one server and with two.
    for seed in 0..12 {
        let first = gapless_sim::run(seed).unwrap();
        let second = gapless_sim::run(seed).unwrap();
        assert!(!first.story.is_empty(), "nothing was told");
        assert_eq!(first.story, second.story, "seed {seed}");
        deployments += first.deployments;
    }
    assert!(deployments > 12, "nothing happened");
}

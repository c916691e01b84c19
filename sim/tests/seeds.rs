//! A thousand seeds in every test run, and the same seed twice.

#[test]
fn a_thousand_seeds_break_no_rule() {
    let summary = gapless_sim::run_many(0..1_000).unwrap();
    let failed: Vec<_> = summary.failed.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
    let replay = "replay one with `cargo run -p gapless-sim -- --seed N`";
    assert!(failed.is_empty(), "{} seeds failed; {replay}:\n{}", failed.len(), failed.join("\n"));
    assert!(summary.deployments > 10_000 && summary.requests > 100_000, "hardly anything happened");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let first = gapless_sim::run(7).unwrap();
    let second = gapless_sim::run(7).unwrap();
    assert!(first.requests > 100 && first.deployments > 1, "nothing happened: {first:?}");
    assert_eq!(first.story, second.story);
}

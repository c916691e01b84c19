//! A thousand seeds in every test run, and the same seed twice.

#[test]
fn a_thousand_seeds_break_no_rule() {
    let failures: Vec<_> = (0..1_000)
        .filter_map(|seed| {
            let outcome = gapless_sim::run(seed).unwrap();
            outcome.violations.first().map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    let replay = "replay one with `cargo run -p gapless-sim -- --seed N`";
    assert!(failures.is_empty(), "{} seeds failed; {replay}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let first = gapless_sim::run(7).unwrap();
    let second = gapless_sim::run(7).unwrap();
    assert!(first.requests > 100 && first.deployments > 1, "nothing happened: {first:?}");
    assert_eq!(first.story, second.story);
}

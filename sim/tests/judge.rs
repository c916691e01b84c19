//! The judge's promise: equal releases are reverted no more often than the rule allows, and worse ones are reverted.

/// Enough to distinguish 1 % from much more, in a test build.
const ROLLOUTS: u64 = 400;

#[test]
fn judge_reverts_worse_releases_and_rarely_equal_ones() {
    for kind in gapless_sim::kinds().into_iter().filter(|kind| kind.rate_per_s < 100.0) {
        let verdicts = gapless_sim::judge(&kind, 0..ROLLOUTS);
        let share = verdicts.reverted as f64 / verdicts.rollouts as f64;
        let is_equal = kind.name.starts_with("equal");
        // At a rate of 1 %, more than 13 of 400 happen once in 10,000 times.
        assert!(!is_equal || verdicts.reverted <= 13, "{}: {verdicts:?}", kind.name);
        let is_much_worse = kind.new_rate >= 0.05 && !is_equal || kind.slowdown > 1.0;
        assert!(!is_much_worse || share > 0.9, "{}: {verdicts:?}", kind.name);
    }
}

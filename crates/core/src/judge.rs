//! The judge: compares the answers of a new release with those of the old one, at any number of moments, and keeps the
//! share of false alarms below the bound of its rule.
//!
//! The method is sequential testing by betting. A wager starts at 1. Each block of requests multiplies it by the
//! likelihood ratio of "the new release is r times worse" to "both are the same". If both are the same, the product is
//! a test martingale: the chance that it ever exceeds 1/α is at most α (Ville, 1939), however often it is checked. The
//! usual tests, made for one check at the end, do not give that. For two streams the bets are those of Turner, Ly and
//! Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping" (2024), with an
//! equal stake on each r. A latency is tested in the same way: by the share of requests slower than the old release's
//! quantile.
//!
//! After the cutover there is no second stream, only the history of the old release. Then half of α bounds the old
//! release's rate from above (Chernoff), and the other half is for bets against that bound.

use crate::strategy::JudgeRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The factors r by which the odds of a failure may have grown: an equal stake on each.
const ODDS: [f64; 8] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0];

/// The compared quantiles, in thousandths.
const QUANTILES: [u16; 3] = [500, 950, 990];

/// The answers of a slot, as counts that only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, the failed ones: no answer, or a status of 500 or more.
    pub errors: u64,
    /// Latencies: the upper bounds of buckets in microseconds, each with its number of requests.
    pub latencies: BTreeMap<u64, u64>,
}

impl Figures {
    /// The increase since `earlier`. Counts smaller than `earlier` have restarted from zero, and are taken whole.
    #[must_use]
    pub fn since(&self, earlier: &Figures) -> Figures {
        if self.requests < earlier.requests {
            return self.clone();
        }
        let count = |us: &u64| earlier.latencies.get(us).copied().unwrap_or(0);
        let latencies = self.latencies.iter().map(|(us, n)| (*us, n.saturating_sub(count(us))));
        Figures {
            requests: self.requests - earlier.requests,
            errors: self.errors.saturating_sub(earlier.errors),
            latencies: latencies.filter(|(_, n)| *n > 0).collect(),
        }
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Figures) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (us, n) in &other.latencies {
            *self.latencies.entry(*us).or_default() += n;
        }
    }

    /// The latency that `permille` of 1,000 do not exceed, in microseconds; 0 without measurements.
    #[must_use]
    pub fn quantile_us(&self, permille: u16) -> u64 {
        let rank = (self.measured() * u64::from(permille)).div_ceil(1000).max(1);
        let mut below = 0;
        let mut reached = self.latencies.iter().skip_while(|(_, n)| {
            below += **n;
            below < rank
        });
        reached.next().map_or(0, |(us, _)| *us)
    }

    fn measured(&self) -> u64 {
        self.latencies.values().sum()
    }

    fn slower_than(&self, us: u64) -> u64 {
        self.latencies.range(us + 1..).map(|(_, n)| n).sum()
    }

    fn summary(&self) -> Summary {
        let [p50_us, p95_us, p99_us] = QUANTILES.map(|permille| self.quantile_us(permille));
        Summary { requests: self.requests, errors: self.errors, p50_us, p95_us, p99_us }
    }
}

/// The answers of a slot in a few numbers. Latencies are in microseconds, 0 without measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The number of requests.
    pub requests: u64,
    /// Of these, the failed ones: no answer, or a status of 500 or more.
    pub errors: u64,
    /// The median latency.
    pub p50_us: u64,
    /// The 95th percentile of latency.
    pub p95_us: u64,
    /// The 99th percentile of latency.
    pub p99_us: u64,
}

/// The comparison of the new release with the old one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The new release, in the canary or under observation.
    pub new: Summary,
    /// The old release: during a canary in the same period, otherwise before the cutover.
    pub old: Summary,
    /// The finding against the new release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breach: Option<String>,
}

/// Compares a new release with the old one.
#[derive(Debug, Clone)]
pub struct Judge {
    rule: JudgeRule,
    /// Both releases get requests; otherwise `history` is all that is known of the old one.
    is_side_by_side: bool,
    /// The counts of the old release from before the comparison.
    history: Figures,
    old: Figures,
    new: Figures,
    errors: Wager,
    slowness: [Wager; QUANTILES.len()],
}

impl Judge {
    /// A judge of a release that gets requests beside the old one. `history` has the old release's earlier counts.
    #[must_use]
    pub fn side_by_side(rule: JudgeRule, history: Figures) -> Self {
        Judge {
            rule,
            is_side_by_side: true,
            history,
            old: Figures::default(),
            new: Figures::default(),
            errors: Wager::default(),
            slowness: Default::default(),
        }
    }

    /// A judge of a release that gets all requests. `history` has the old release's counts before the cutover.
    #[must_use]
    pub fn after(rule: JudgeRule, history: Figures) -> Self {
        Judge { is_side_by_side: false, ..Judge::side_by_side(rule, history) }
    }

    /// Adds the increase of both counts since the last call.
    pub fn take(&mut self, old: &Figures, new: &Figures) {
        if self.is_side_by_side {
            let mut before = self.history.clone();
            before.add(&self.old);
            if before.requests >= u64::from(self.rule.requests_min) {
                let rate = rate_of(before.errors, before.requests);
                self.errors.two_streams(rate, (old.requests, old.errors), (new.requests, new.errors));
            }
            for (wager, permille) in self.slowness.iter_mut().zip(QUANTILES) {
                // Compares the same period only: the hour of the day changes latencies more than releases do.
                if self.old.measured() < u64::from(self.rule.requests_min) {
                    continue;
                }
                let limit_us = self.old.quantile_us(permille);
                let more_us = limit_us * u64::from(self.rule.slower_percent) / 100;
                let slower_us = limit_us + more_us.max(self.rule.slower_by.0.saturating_mul(1000));
                let rate = rate_of(self.old.slower_than(limit_us), self.old.measured());
                let (old, new) =
                    ((old.measured(), old.slower_than(limit_us)), (new.measured(), new.slower_than(slower_us)));
                wager.two_streams(rate, old, new);
            }
        } else {
            let bound = rate_at_most(self.history.errors, self.history.requests, self.alpha() / 2.0);
            self.errors.one_stream(bound, (new.requests, new.errors));
        }
        self.old.add(old);
        self.new.add(new);
    }

    /// The comparison so far, with the finding against the new release if there is one.
    #[must_use]
    pub fn comparison(&self) -> Comparison {
        let old = if self.is_side_by_side { self.old.summary() } else { self.history.summary() };
        Comparison { new: self.new.summary(), old, breach: self.breach() }
    }

    fn alpha(&self) -> f64 {
        f64::from(self.rule.false_alarms) / 10_000.0
    }

    fn breach(&self) -> Option<String> {
        if self.new.requests < u64::from(self.rule.requests_min) {
            return None;
        }
        self.absolute_breach().or_else(|| self.relative_breach())
    }

    fn absolute_breach(&self) -> Option<String> {
        let new = self.new.summary();
        if let Some(limit) = self.rule.errors_max_permille
            && new.errors * 1000 > new.requests * u64::from(limit)
        {
            let limit = f64::from(limit) / 10.0;
            return Some(format!("{}; the limit is {limit} % (judge.errors_max)", failures(&new)));
        }
        let bounds = self.rule.latency_max;
        let limits =
            [(bounds.p50, new.p50_us, "p50"), (bounds.p95, new.p95_us, "p95"), (bounds.p99, new.p99_us, "p99")];
        limits.into_iter().find_map(|(limit, seen_us, name)| {
            let limit = limit.filter(|limit| seen_us > limit.0.saturating_mul(1000))?;
            let seen = millis(seen_us);
            Some(format!("its {name} is {seen} in {} requests; the limit is {limit} (judge.{name}_max)", new.requests))
        })
    }

    fn relative_breach(&self) -> Option<String> {
        if self.rule.false_alarms == 0 {
            return None;
        }
        let comparison = Comparison { new: self.new.summary(), ..Comparison::default() };
        let new = comparison.new;
        let old = if self.is_side_by_side { self.old.summary() } else { self.history.summary() };
        let tests = if self.is_side_by_side { 1 + QUANTILES.len() } else { 2 };
        // Several tests share α; the bound of `one_stream` has used one half of it.
        let limit = (tests as f64 / self.alpha()).ln();
        if self.errors.ln() >= limit {
            let chance = self.false_alarms();
            return Some(format!("{}; on the old release, {} ({chance})", failures(&new), failures(&old)));
        }
        let seen = [(old.p50_us, new.p50_us), (old.p95_us, new.p95_us), (old.p99_us, new.p99_us)];
        let slow = self.slowness.iter().zip(QUANTILES).zip(seen).find(|((wager, _), _)| wager.ln() >= limit);
        slow.map(|((_, permille), (old_us, new_us))| {
            format!(
                "its p{} is {}, that of the old release {}, over {} and {} requests in the same period ({})",
                permille / 10,
                millis(new_us),
                millis(old_us),
                new.requests,
                old.requests,
                self.false_alarms()
            )
        })
    }

    fn false_alarms(&self) -> String {
        format!("equal releases look like this in at most {} % of rollouts", f64::from(self.rule.false_alarms) / 100.0)
    }
}

fn failures(seen: &Summary) -> String {
    let percent = if seen.requests == 0 { 0.0 } else { 100.0 * seen.errors as f64 / seen.requests as f64 };
    format!("{} of {} requests failed ({percent:.2} %)", seen.errors, seen.requests)
}

fn millis(us: u64) -> String {
    if us < 10_000 { format!("{:.2} ms", us as f64 / 1000.0) } else { format!("{} ms", us / 1000) }
}

/// Bets on each of [`ODDS`], as the logarithms of their present worth.
#[derive(Debug, Clone, Default)]
struct Wager([f64; ODDS.len()]);

impl Wager {
    /// Bets on a block of requests of both releases, each as its size and its number of failures. `rate` is the old
    /// release's failure rate before this block.
    fn two_streams(&mut self, rate: f64, old: (u64, u64), new: (u64, u64)) {
        let (n_old, n_new) = (old.0 as f64, new.0 as f64);
        if n_old == 0.0 || n_new == 0.0 {
            return;
        }
        for (ln, odds) in self.0.iter_mut().zip(ODDS) {
            let worse = with_odds(rate, odds);
            let same = (n_old * rate + n_new * worse) / (n_old + n_new);
            *ln += likelihood(rate, old) + likelihood(worse, new) - likelihood(same, (old.0 + new.0, old.1 + new.1));
        }
    }

    /// Bets on a block of requests of the new release alone, against a rate of at most `bound`.
    fn one_stream(&mut self, bound: f64, new: (u64, u64)) {
        if bound >= 1.0 {
            return;
        }
        for (ln, odds) in self.0.iter_mut().zip(ODDS) {
            *ln += likelihood(with_odds(bound, odds), new) - likelihood(bound, new);
        }
    }

    /// The logarithm of the mean of all bets.
    fn ln(&self) -> f64 {
        let max = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.0.iter().map(|ln| (ln - max).exp()).sum();
        max + (sum / ODDS.len() as f64).ln()
    }
}

/// The rate whose odds are `odds` times those of `rate`.
fn with_odds(rate: f64, odds: f64) -> f64 {
    let odds = odds * rate / (1.0 - rate);
    odds / (1.0 + odds)
}

/// The logarithm of the probability of `failed` failures in `all` requests, at the failure rate `rate`.
fn likelihood(rate: f64, (all, failed): (u64, u64)) -> f64 {
    failed as f64 * rate.ln() + (all - failed.min(all)) as f64 * (1.0 - rate).ln()
}

/// An estimate of a rate that is neither 0 nor 1 (Krichevsky and Trofimov, 1981).
fn rate_of(failed: u64, all: u64) -> f64 {
    (failed as f64 + 0.5) / (all as f64 + 1.0)
}

/// The upper bound of a rate after `failed` of `all` failures, which the true rate exceeds with a chance of at most
/// `alpha`: where Chernoff's bound, n · KL(seen ‖ rate), reaches ln 1/α.
fn rate_at_most(failed: u64, all: u64, alpha: f64) -> f64 {
    if all == 0 || alpha <= 0.0 {
        return 1.0;
    }
    let seen = failed as f64 / all as f64;
    let term = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    let distance = |rate: f64| all as f64 * (term(seen, rate) + term(1.0 - seen, 1.0 - rate));
    let (mut low, mut high) = (seen, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if distance(middle) < (1.0 / alpha).ln() { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Millis;
    use crate::gate::LatencyBounds;

    fn figures(requests: u64, errors: u64, latencies: &[(u64, u64)]) -> Figures {
        Figures { requests, errors, latencies: latencies.iter().copied().collect() }
    }

    #[test]
    fn judge_finds_failing_release_within_first_requests() {
        let mut judge = Judge::after(JudgeRule::default(), figures(2_000, 2, &[]));
        judge.take(&Figures::default(), &figures(20, 20, &[]));
        let breach = judge.comparison().breach.unwrap();
        assert!(breach.starts_with("20 of 20 requests failed (100.00 %); on the old release, 2 of 2000"), "{breach}");
    }

    #[test]
    fn judge_waits_for_requests_min() {
        let mut judge = Judge::after(JudgeRule::default(), figures(2_000, 0, &[]));
        judge.take(&Figures::default(), &figures(19, 19, &[]));
        assert_eq!(judge.comparison().breach, None);
    }

    #[test]
    fn judge_accepts_errors_that_old_release_has_too() {
        let mut judge = Judge::side_by_side(JudgeRule::default(), Figures::default());
        for _ in 0..100 {
            judge.take(&figures(90, 45, &[]), &figures(10, 5, &[]));
        }
        assert_eq!(judge.comparison().breach, None);
        assert_eq!((judge.comparison().old.errors, judge.comparison().new.errors), (4_500, 500));
    }

    #[test]
    fn judge_accepts_better_release() {
        let mut judge = Judge::side_by_side(JudgeRule::default(), figures(1_000, 200, &[]));
        for _ in 0..100 {
            judge.take(&figures(90, 18, &[(2_000, 90)]), &figures(10, 0, &[(1_000, 10)]));
        }
        assert_eq!(judge.comparison().breach, None);
        let mut judge = Judge::after(JudgeRule::default(), figures(1_000, 200, &[]));
        judge.take(&Figures::default(), &figures(10_000, 0, &[]));
        assert_eq!(judge.comparison().breach, None);
    }

    #[test]
    fn judge_reports_slowness_only_beyond_rule() {
        let run = |slower_by: u64, new_us: u64| {
            let rule = JudgeRule { slower_by: Millis(slower_by), ..JudgeRule::default() };
            let mut judge = Judge::side_by_side(rule, Figures::default());
            for _ in 0..60 {
                let old = [(1_000, 60), (2_000, 25), (5_000, 5)];
                judge.take(&figures(90, 0, &old), &figures(10, 0, &[(new_us, 7), (2 * new_us, 2), (5 * new_us, 1)]));
            }
            judge.comparison().breach
        };
        assert_eq!(run(0, 1_400), None);
        let slow = run(0, 4_000).unwrap();
        assert!(slow.starts_with("its p50 is 4.00 ms, that of the old release 1.00 ms"), "{slow}");
        assert_eq!(run(10, 2_000), None, "slower by less than slower_by");
        let slow = run(10, 4_000).unwrap();
        assert!(slow.starts_with("its p95 is 20 ms, that of the old release 5.00 ms"), "{slow}");
    }

    #[test]
    fn absolute_limits_apply_without_old_release() {
        let rule = JudgeRule { errors_max_permille: Some(50), ..JudgeRule::default() };
        let mut judge = Judge::after(rule, Figures::default());
        judge.take(&Figures::default(), &figures(100, 5, &[]));
        assert_eq!(judge.comparison().breach, None);
        judge.take(&Figures::default(), &figures(100, 6, &[]));
        assert_eq!(
            judge.comparison().breach.as_deref(),
            Some("11 of 200 requests failed (5.50 %); the limit is 5 % (judge.errors_max)")
        );
        let latency_max = LatencyBounds { p95: Some(Millis(5)), ..LatencyBounds::default() };
        let mut judge = Judge::after(JudgeRule { latency_max, ..JudgeRule::default() }, Figures::default());
        judge.take(&Figures::default(), &figures(100, 0, &[(1_000, 90), (8_000, 10)]));
        let breach = judge.comparison().breach.unwrap();
        assert_eq!(breach, "its p95 is 8.00 ms in 100 requests; the limit is 5 ms (judge.p95_max)");
    }

    #[test]
    fn figures_since_takes_restarted_counts_whole() {
        let before = figures(100, 5, &[(1_000, 100)]);
        assert_eq!(figures(130, 6, &[(1_000, 130)]).since(&before), figures(30, 1, &[(1_000, 30)]));
        assert_eq!(figures(7, 1, &[(1_000, 7)]).since(&before), figures(7, 1, &[(1_000, 7)]));
    }

    #[test]
    fn rate_bound_exceeds_observation_and_tightens_with_requests() {
        assert!((rate_at_most(0, 0, 0.005) - 1.0).abs() < 1e-9);
        let bounds = [10, 100, 10_000].map(|n| rate_at_most(n / 10, n, 0.005));
        assert!(bounds[0] > bounds[1] && bounds[1] > bounds[2] && bounds[2] > 0.1, "{bounds:?}");
        assert!((0.10..0.112).contains(&bounds[2]), "{bounds:?}");
    }
}

//! Measures the judge's false alarms and its sensitivity, with canaries of releases whose failure rates are known.

use gapless_core::judge::{Figures, Judge};
use gapless_core::strategy::JudgeRule;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// The interval of the judge's checks, in seconds of a rollout.
const CHECK_EVERY_S: f64 = 1.0;

/// A kind of rollout: a canary of some steps, then the observation after the cutover.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Its name.
    pub name: &'static str,
    /// Requests per second in total.
    pub rate_per_s: f64,
    /// The steps: the share of the requests in percent, and the duration in seconds.
    pub steps: Vec<(f64, f64)>,
    /// The duration of the observation after the cutover in seconds; 0 skips it.
    pub observe_s: f64,
    /// The failure rate of the old release.
    pub old_rate: f64,
    /// The failure rate of the new release.
    pub new_rate: f64,
    /// The factor by which the new release's latencies exceed those of the old one.
    pub slowdown: f64,
}

/// The results of many rollouts of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verdicts {
    /// All rollouts.
    pub rollouts: u64,
    /// The rollouts that were reverted.
    pub reverted: u64,
    /// The new release's requests before the revert, summed over the reverted rollouts.
    pub requests: u64,
}

/// The kinds of rollouts in the documentation: equal releases first, then worse ones.
#[must_use]
pub fn kinds() -> Vec<Rollout> {
    let steps = vec![(10.0, 120.0), (50.0, 120.0)];
    let usual = Rollout {
        name: "equal, 1 % fail",
        rate_per_s: 50.0,
        steps: steps.clone(),
        observe_s: 0.0,
        old_rate: 0.01,
        new_rate: 0.01,
        slowdown: 1.0,
    };
    let after = Rollout { steps: Vec::new(), observe_s: 60.0, ..usual.clone() };
    vec![
        usual.clone(),
        Rollout { name: "equal, 0.1 % fail", old_rate: 0.001, new_rate: 0.001, ..usual.clone() },
        Rollout { name: "equal, 5 % fail", old_rate: 0.05, new_rate: 0.05, ..usual.clone() },
        Rollout { name: "equal, 500 requests a second", rate_per_s: 500.0, ..usual.clone() },
        Rollout { name: "equal, after the cutover only", ..after.clone() },
        Rollout { name: "1 % → 2 %", new_rate: 0.02, ..usual.clone() },
        Rollout { name: "5 % → 10 %", old_rate: 0.05, new_rate: 0.10, ..usual.clone() },
        Rollout { name: "1 % → 5 %", new_rate: 0.05, ..usual.clone() },
        Rollout { name: "1 % → 2 %, 500 requests a second", rate_per_s: 500.0, new_rate: 0.02, ..usual.clone() },
        Rollout { name: "1 % → 5 %, after the cutover only", new_rate: 0.05, ..after },
        Rollout { name: "twice as slow", slowdown: 2.0, ..usual },
    ]
}

/// Judges a rollout for each seed, on all cores.
#[must_use]
pub fn judge(kind: &Rollout, seeds: Range<u64>) -> Verdicts {
    let next = AtomicU64::new(seeds.start);
    let verdicts = Mutex::new(Verdicts::default());
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let reverted_after = one(kind, seed);
        let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.rollouts += 1;
        verdicts.reverted += u64::from(reverted_after.is_some());
        verdicts.requests += reverted_after.unwrap_or(0);
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    verdicts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Judges one rollout; returns the number of the new release's requests before the revert, if it was reverted.
fn one(kind: &Rollout, seed: u64) -> Option<u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let history = block(&mut rng, kind.rate_per_s * 60.0, kind.old_rate, 1.0);
    let mut judge = Judge::side_by_side(JudgeRule::default(), history.clone());
    for (percent, seconds) in &kind.steps {
        let mut left = *seconds;
        while left > 0.0 {
            let count = kind.rate_per_s * CHECK_EVERY_S;
            let old = block(&mut rng, count * (1.0 - percent / 100.0), kind.old_rate, 1.0);
            let new = block(&mut rng, count * percent / 100.0, kind.new_rate, kind.slowdown);
            judge.take(&old, &new);
            if judge.comparison().breach.is_some() {
                return Some(judge.comparison().new.requests);
            }
            left -= CHECK_EVERY_S;
        }
    }
    let mut judge = Judge::after(JudgeRule::default(), history);
    let mut left = kind.observe_s;
    while left > 0.0 {
        let new = block(&mut rng, kind.rate_per_s * CHECK_EVERY_S, kind.new_rate, kind.slowdown);
        judge.take(&Figures::default(), &new);
        if judge.comparison().breach.is_some() {
            return Some(judge.comparison().new.requests);
        }
        left -= CHECK_EVERY_S;
    }
    None
}

/// A block of about `mean` requests, with independent failures and latencies.
fn block(rng: &mut StdRng, mean: f64, rate: f64, slowdown: f64) -> Figures {
    let extra = u64::from(rng.random::<f64>() < mean.fract());
    let requests = mean as u64 + extra;
    let (mut errors, mut latencies) = (0, BTreeMap::new());
    for _ in 0..requests {
        errors += u64::from(rng.random::<f64>() < rate);
        *latencies.entry(latency_us(rng, slowdown)).or_default() += 1;
    }
    Figures { requests, errors, latencies }
}

/// A latency from a distribution like that of applications: log-normal with a median of 10 ms, in buckets as wide as
/// the proxy's.
fn latency_us(rng: &mut StdRng, slowdown: f64) -> u64 {
    let (u, v): (f64, f64) = (rng.random::<f64>().max(1e-12), rng.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    let us = 10_000.0 * slowdown * (0.8 * normal).exp();
    // The bucket is a thirty-second of the power of two below.
    let power = us.log2().floor();
    let step = 2_f64.powf(power) / 32.0;
    ((us / step).ceil() * step) as u64
}

//! What each core counts for one placement. Every count has one writer, the core's own thread, so counting is a load
//! and a store without a lock on the bus; whoever asks adds the cores up.

use crate::control::{AnswerCounts, FailureCounts, Latency, PlacementTraffic};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A count with one writer and any number of readers.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Release);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Release);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Connect,
    Reset,
    Timeout,
}

/// One core's counts for one placement, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CoreTraffic {
    pub(crate) in_flight: Count,
    pub(crate) upgraded: Count,
    pub(crate) requests: Count,
    pub(crate) retries: Count,
    pub(crate) fallbacks: Count,
    pub(crate) abandoned: Count,
    first_at_us: Count,
    last_at_us: Count,
    answers: [Count; 5],
    failures: [Count; 3],
    latency: Histogram,
}

impl CoreTraffic {
    /// A request began at `now_us`, in microseconds since the Unix epoch.
    pub(crate) fn begin(&self, now_us: u64) {
        self.requests.add(1);
        self.in_flight.add(1);
        if self.first_at_us.get() == 0 {
            self.first_at_us.set(now_us);
        }
        self.last_at_us.set(now_us);
    }

    /// The head of an answer came.
    pub(crate) fn answer(&self, status: u16, latency_us: u64) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.answers[class].add(1);
        self.latency.record(latency_us);
    }

    /// An attempt failed.
    pub(crate) fn fail(&self, failure: Failure) {
        self.failures[failure as usize].add(1);
    }
}

/// Adds up what the cores counted.
pub(crate) fn sum(cores: &[CoreTraffic]) -> PlacementTraffic {
    let total = |count: fn(&CoreTraffic) -> &Count| cores.iter().map(|core| count(core).get()).sum::<u64>();
    let some = |us: Option<u64>| us.filter(|us| *us > 0);
    PlacementTraffic {
        in_flight: total(|core| &core.in_flight),
        upgraded: total(|core| &core.upgraded),
        requests: total(|core| &core.requests),
        retries: total(|core| &core.retries),
        fallbacks: total(|core| &core.fallbacks),
        abandoned: total(|core| &core.abandoned),
        answers: AnswerCounts {
            informational: total(|core| &core.answers[0]),
            success: total(|core| &core.answers[1]),
            redirect: total(|core| &core.answers[2]),
            client_error: total(|core| &core.answers[3]),
            server_error: total(|core| &core.answers[4]),
        },
        failures: FailureCounts {
            connect: total(|core| &core.failures[Failure::Connect as usize]),
            reset: total(|core| &core.failures[Failure::Reset as usize]),
            timeout: total(|core| &core.failures[Failure::Timeout as usize]),
        },
        latency: Histogram::read(cores.iter().map(|core| &core.latency)),
        first_request_at_us: some(cores.iter().map(|core| core.first_at_us.get()).filter(|us| *us > 0).min()),
        last_request_at_us: some(cores.iter().map(|core| core.last_at_us.get()).max()),
        ..PlacementTraffic::default()
    }
}

/// All latencies that the cores measured: the upper bounds of buckets in microseconds, and how many fell there.
pub(crate) fn latencies(cores: &[CoreTraffic]) -> Vec<(u64, u64)> {
    let counts = Histogram::counts(cores.iter().map(|core| &core.latency));
    let filled = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    filled.map(|(index, count)| (Histogram::upper(index), count)).collect()
}

/// Each power of two is divided into this many buckets: a quantile is off by at most 1/32 of itself.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// Up to 2^36 µs, nineteen hours.
const POWERS: usize = 32;
const BUCKETS: usize = POWERS * STEPS as usize;

/// A histogram that another thread may read while it is written to, which those of `hdrhistogram` are not. 4 KiB, only
/// where a placement got a request.
#[derive(Debug, Default)]
struct Histogram {
    buckets: OnceLock<Box<[AtomicU32]>>,
    max: Count,
}

impl Histogram {
    fn record(&self, us: u64) {
        let buckets = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU32::new(0)).collect());
        if let Some(bucket) = buckets.get(Self::index(us)) {
            bucket.store(bucket.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        }
        if us > self.max.get() {
            self.max.set(us);
        }
    }

    /// Values below 32 have a bucket each; above, the five bits behind the first one choose it.
    fn index(us: u64) -> usize {
        if us < STEPS {
            return us as usize;
        }
        let power = u64::from(us.ilog2() - STEPS_LOG2 + 1);
        let step = (us >> (power - 1)) - STEPS;
        ((power * STEPS + step) as usize).min(BUCKETS - 1)
    }

    /// The largest value of a bucket.
    fn upper(index: usize) -> u64 {
        let (power, step) = (index as u64 / STEPS, index as u64 % STEPS);
        if power == 0 { step } else { ((step + STEPS + 1) << (power - 1)) - 1 }
    }

    fn counts<'a>(cores: impl Iterator<Item = &'a Histogram>) -> Vec<u64> {
        let mut counts = vec![0_u64; BUCKETS];
        for buckets in cores.filter_map(|core| core.buckets.get()) {
            for (count, bucket) in counts.iter_mut().zip(buckets) {
                *count += u64::from(bucket.load(Ordering::Relaxed));
            }
        }
        counts
    }

    fn read<'a>(cores: impl Iterator<Item = &'a Histogram> + Clone) -> Latency {
        let counts = Histogram::counts(cores.clone());
        let count: u64 = counts.iter().sum();
        let max_us = cores.map(|core| core.max.get()).max().unwrap_or(0);
        let quantile = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1000);
            let mut below = 0;
            let reached = counts.iter().position(|bucket| {
                below += bucket;
                below >= rank && below > 0
            });
            reached.map_or(0, |index| Self::upper(index).min(max_us))
        };
        Latency {
            count,
            p50_us: quantile(500),
            p90_us: quantile(900),
            p99_us: quantile(990),
            p999_us: quantile(999),
            max_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_thirty_second() {
        let cores = [Histogram::default(), Histogram::default()];
        for us in 1..=100_000_u64 {
            cores[(us % 2) as usize].record(us);
        }
        let latency = Histogram::read(cores.iter());
        assert_eq!((latency.count, latency.max_us), (100_000, 100_000));
        for (read, truth) in [(latency.p50_us, 50_000), (latency.p90_us, 90_000), (latency.p99_us, 99_000)] {
            assert!(read >= truth && read <= truth + truth / 32, "{read} for {truth}");
        }
    }

    #[test]
    fn value_falls_into_bucket_that_covers_it() {
        for us in (0..4096).chain([u64::from(u32::MAX), 1 << 35]) {
            let index = Histogram::index(us);
            assert!(Histogram::upper(index) >= us, "{us}");
            assert!(index == 0 || Histogram::upper(index - 1) < us, "{us}");
        }
        assert_eq!(Histogram::index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn empty_histogram_reads_as_zero() {
        assert_eq!(sum(&[CoreTraffic::default()]), PlacementTraffic::default());
    }
}

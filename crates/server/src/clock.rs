//! The clock of the control plane, and the only reader of the wall clock.

use crate::records::{RecordError, Records};
use gapless_core::planted;
use gapless_core::{Application, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The divisor of a correction: the clock runs faster or slower by 1/50 until it agrees with the wall clock.
const CORRECTION_DIVISOR: u64 = 50;

/// A steady clock. Starts at the time of the wall clock and then follows the monotonic clock, so that no deadline and
/// no drain ends an hour early or late because somebody set the wall clock. After a jump of the wall clock, approaches
/// it by 1/50 of the elapsed time, so that a host that slept shows the right time again.
#[derive(Clone)]
pub struct Clock(Arc<ClockState>);

struct ClockState {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// The last reading: when, and the time that it returned, in microseconds. With whole milliseconds, frequent
    /// readings would round each small correction up to a large one.
    last: Mutex<(Instant, u64)>,
}

impl Clock {
    /// A clock that starts at the time of `wall`.
    pub fn new(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let last = Mutex::new((Instant::now(), micros(wall())));
        Clock(Arc::new(ClockState { wall: Box::new(wall), last }))
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Clock::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = (self.0.wall)();
        if planted::follows_wall_clock() {
            return wall;
        }
        let mut reading = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, last) = *reading;
        let passed = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let correction_max = passed / CORRECTION_DIVISOR;
        if correction_max > 0 {
            let steady = last.saturating_add(passed);
            let now = micros(wall).clamp(steady - correction_max, steady.saturating_add(correction_max));
            // Fractions of a microsecond are not lost: the next reading counts from this sum.
            *reading = (at + std::time::Duration::from_micros(passed), now);
            return Timestamp(now / 1000);
        }
        Timestamp(last.saturating_add(passed) / 1000)
    }

    /// Moves the clock forward to at least `at`. Needed if the wall clock was set back while no server ran: recorded
    /// deadlines would otherwise wait until the wall clock has caught up.
    pub fn advance_to(&self, at: Timestamp) {
        let mut reading = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.1 < micros(at) {
            tracing::warn!(
                clock = reading.1 / 1000,
                records = at.0,
                "the clock is behind the records: the wall clock was set back; continuing from the recorded time"
            );
            *reading = (Instant::now(), micros(at));
        }
    }

    /// Moves the clock forward to the start of each hold, canary and phase that is in progress in `apps`.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub async fn advance_to_records(&self, records: &Records, apps: &[Application]) -> Result<(), RecordError> {
        for app in apps {
            let held = app.hold.as_ref().map(|held| held.since);
            let active = match &app.active {
                Some(claim) => records.deployment(&app.key, claim.deployment).await?,
                None => None,
            };
            let canary = active.as_ref().and_then(|active| active.record.canary.as_ref()).map(|canary| canary.since);
            let phase = active.map(|active| active.record.phase_since);
            held.into_iter().chain(canary).chain(phase).for_each(|at| self.advance_to(at));
        }
        Ok(())
    }
}

const fn micros(at: Timestamp) -> u64 {
    at.0.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use gapless_core::Timestamp;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    const HOUR_MS: u64 = 3_600_000;
    const BEGAN_MS: u64 = 10 * HOUR_MS;

    #[tokio::test(start_paused = true)]
    async fn deadlines_do_not_move_when_wall_clock_is_set() {
        let (wall, began) = (Arc::new(AtomicU64::new(BEGAN_MS)), tokio::time::Instant::now());
        let clock = Clock::new({
            let wall = wall.clone();
            move || Timestamp(wall.load(Ordering::Relaxed) + u64::try_from(began.elapsed().as_millis()).unwrap())
        });
        for jump in [0, HOUR_MS, BEGAN_MS] {
            wall.store(BEGAN_MS - HOUR_MS + jump, Ordering::Relaxed);
            let before = clock.now();
            tokio::time::advance(Duration::from_secs(60)).await;
            let passed = clock.now().since(before).0;
            assert!((58_800..=61_200).contains(&passed), "{passed} ms");
        }
        // The number of readings makes no difference.
        wall.store(BEGAN_MS + HOUR_MS, Ordering::Relaxed);
        let before = clock.now();
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let _ = clock.now();
        }
        let passed = clock.now().since(before).0;
        assert!((9_800..=10_200).contains(&passed), "{passed} ms");
        // After enough time, the clock agrees with the wall clock.
        tokio::time::advance(Duration::from_secs(1_100 * 3600)).await;
        assert_eq!(clock.now().0, wall.load(Ordering::Relaxed) + u64::try_from(began.elapsed().as_millis()).unwrap());
    }

    #[test]
    fn clock_advances_when_records_are_newer() {
        let clock = Clock::new(|| Timestamp(BEGAN_MS));
        clock.advance_to(Timestamp(BEGAN_MS + HOUR_MS));
        assert!(clock.now() >= Timestamp(BEGAN_MS + HOUR_MS));
    }
}

//! The only place of the control plane that reads the wall clock.

use crate::records::{RecordError, Records};
use gapless_core::planted;
use gapless_core::{Application, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How much faster or slower than time it goes until it is right again: by one part in so many.
const CATCHES_UP_BY: u64 = 50;

/// Tells the time, steadily: it begins with the wall clock's and goes on by the steady one, so that no deadline of a
/// deployment, and no drain, is over an hour early or late because somebody set the clock. Where the wall clock jumps, it
/// comes nearer to that by a fiftieth of the time that passes, so that a host that slept shows the right time again.
#[derive(Clone)]
pub struct Clock(Arc<Ticking>);

struct Ticking {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// When it was read last, and what it told then, in microseconds: read often, in whole milliseconds each small step of
    /// catching up would be a large one.
    told: Mutex<(Instant, u64)>,
}

impl Clock {
    /// A clock that begins with what `wall` says.
    pub fn new(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let told = Mutex::new((Instant::now(), micros(wall())));
        Clock(Arc::new(Ticking { wall: Box::new(wall), told }))
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Clock::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = (self.0.wall)();
        if planted::follows_wall_clock() {
            return wall;
        }
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, last) = *told;
        let passed = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let catches_up = passed / CATCHES_UP_BY;
        if catches_up > 0 {
            let steady = last.saturating_add(passed);
            let now = micros(wall).clamp(steady - catches_up, steady.saturating_add(catches_up));
            // What is less than a microsecond is not lost: the next reading counts from where this one did.
            *told = (at + std::time::Duration::from_micros(passed), now);
            return Timestamp(now / 1000);
        }
        Timestamp(last.saturating_add(passed) / 1000)
    }

    /// It is not earlier than that. The records say so where the clock was set back while no server ran: a deadline that
    /// was recorded would be waited for until the clock is where it was.
    pub fn not_before(&self, at: Timestamp) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.1 < micros(at) {
            tracing::warn!(
                clock = told.1 / 1000,
                records = at.0,
                "the clock is behind what is recorded; going by that"
            );
            *told = (Instant::now(), micros(at));
        }
    }

    /// It is not earlier than what is under way in those applications began.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub async fn not_before_records(&self, records: &Records, apps: &[Application]) -> Result<(), RecordError> {
        for app in apps {
            let held = app.hold.as_ref().map(|held| held.since);
            let active = match &app.active {
                Some(claim) => records.deployment(&app.key, claim.deployment).await?,
                None => None,
            };
            let canary = active.as_ref().and_then(|active| active.record.canary.as_ref()).map(|canary| canary.since);
            let phase = active.map(|active| active.record.phase_since);
            held.into_iter().chain(canary).chain(phase).for_each(|at| self.not_before(at));
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
    async fn a_20_a_clock_that_is_set_moves_no_deadline() {
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
        // However often it is read.
        wall.store(BEGAN_MS + HOUR_MS, Ordering::Relaxed);
        let before = clock.now();
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let _ = clock.now();
        }
        let passed = clock.now().since(before).0;
        assert!((9_800..=10_200).contains(&passed), "{passed} ms");
        // After long enough it is right again.
        tokio::time::advance(Duration::from_secs(1_100 * 3600)).await;
        assert_eq!(clock.now().0, wall.load(Ordering::Relaxed) + u64::try_from(began.elapsed().as_millis()).unwrap());
    }

    #[test]
    fn what_is_recorded_was_before() {
        let clock = Clock::new(|| Timestamp(BEGAN_MS));
        clock.not_before(Timestamp(BEGAN_MS + HOUR_MS));
        assert!(clock.now() >= Timestamp(BEGAN_MS + HOUR_MS));
    }
}

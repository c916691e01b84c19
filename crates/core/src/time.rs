//! Instants and durations as values: the core never reads a clock, its callers pass the time.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// An instant of wall-clock time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The instant `duration` after this one.
    #[must_use]
    pub const fn after(self, duration: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.0))
    }

    /// The time from `earlier` to this instant; zero if the clock went backwards meanwhile.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// A span of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1000))
    }

    /// The span as the standard library's type.
    #[must_use]
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Display for Millis {
    /// The span for people: `12 ms`, `1.5 s`, `3m20s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0;
        match ms {
            0..1_000 => write!(f, "{ms} ms"),
            1_000..60_000 if ms.is_multiple_of(1000) => write!(f, "{} s", ms / 1000),
            1_000..60_000 => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
            60_000..3_600_000 => write!(f, "{}m{:02}s", ms / 60_000, ms % 60_000 / 1000),
            _ => write!(f, "{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_display_is_readable() {
        for (ms, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_540, "1.5 s"),
            (59_999, "59.9 s"),
            (60_000, "1m00s"),
            (200_999, "3m20s"),
            (3_600_000, "1h00m"),
            (90_061_000, "25h01m"),
        ] {
            assert_eq!(Millis(ms).to_string(), shown);
        }
    }

    #[test]
    fn time_saturates_instead_of_overflowing() {
        assert_eq!(Timestamp(5).after(Millis(u64::MAX)), Timestamp(u64::MAX));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Millis(0));
        assert_eq!(Timestamp(9).since(Timestamp(5)), Millis(4));
        assert_eq!(Millis::from(Millis::from_secs(2).to_duration()), Millis(2_000));
        assert_eq!(Millis::from(Duration::MAX), Millis(u64::MAX));
        assert_eq!(Millis::from_secs(u64::MAX), Millis(u64::MAX));
    }
}

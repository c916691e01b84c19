//! The wall clock.

use gapless_core::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The current time.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

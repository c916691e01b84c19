//! Bounds of the history, and of one read of it.

/// Revisions that the history retains.
pub(crate) const HISTORY_REVISIONS_MAX: u64 = 10_000;

/// Bytes of values that the history retains, so that large values cannot fill the disk.
pub(crate) const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// Revisions in one page.
pub(crate) const PAGE_REVISIONS_MAX: usize = 128;

/// The revision to compact through so that the history after revision `compacted` is within its bounds; `None` if it
/// already is.
pub(crate) fn surplus(revision: u64, compacted: u64, bytes: u64) -> Option<u64> {
    let kept = revision - compacted;
    if bytes > HISTORY_BYTES_MAX {
        // Drops half of the history: finding out which revisions are large costs as much as dropping them.
        return Some(compacted + kept.div_ceil(2));
    }
    (kept > HISTORY_REVISIONS_MAX).then(|| revision - HISTORY_REVISIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_within_the_bounds_is_retained() {
        assert_eq!(surplus(0, 0, 0), None);
        assert_eq!(surplus(10_500, 500, HISTORY_BYTES_MAX), None);
    }

    #[test]
    fn history_over_the_bounds_is_compacted() {
        assert_eq!(surplus(10_503, 500, 0), Some(503));
        assert_eq!(surplus(103, 100, HISTORY_BYTES_MAX + 1), Some(102));
        assert_eq!(surplus(20_000, 100, HISTORY_BYTES_MAX + 1), Some(10_050));
    }
}

//! How much of the history a store keeps, and how much of it is read at once.

/// Revisions that the history keeps.
pub(crate) const HISTORY_REVISIONS_MAX: u64 = 10_000;

/// Bytes of values that the history keeps, so that large ones cannot fill the disk.
pub(crate) const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// Revisions of one page.
pub(crate) const PAGE_REVISIONS_MAX: usize = 128;

/// The revision to compact through so that a history, which begins after the revision `compacted`, is within its bounds;
/// `None` if it is.
pub(crate) fn surplus(revision: u64, compacted: u64, bytes: u64) -> Option<u64> {
    let kept = revision - compacted;
    if bytes > HISTORY_BYTES_MAX {
        // Half of it: which of the revisions are large is not known, and asking costs as much as dropping.
        return Some(compacted + kept.div_ceil(2));
    }
    (kept > HISTORY_REVISIONS_MAX).then(|| revision - HISTORY_REVISIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_bounds_is_kept() {
        assert_eq!(surplus(0, 0, 0), None);
        assert_eq!(surplus(10_500, 500, HISTORY_BYTES_MAX), None);
    }

    #[test]
    fn revisions_beyond_the_bound_go_and_of_large_values_half() {
        assert_eq!(surplus(10_503, 500, 0), Some(503));
        assert_eq!(surplus(103, 100, HISTORY_BYTES_MAX + 1), Some(102));
        assert_eq!(surplus(20_000, 100, HISTORY_BYTES_MAX + 1), Some(10_050));
    }
}

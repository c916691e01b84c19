//! Follows the changes of a store by reading its history. A watcher keeps only a revision, so a slow watcher costs no
//! memory; a watcher that falls behind the retained history ends with [`StoreError::Compacted`].

use crate::{StoreError, WatchBatch};
use futures_util::stream::{self, BoxStream};
use std::future::Future;
use tokio::sync::watch;

/// A part of the history, read from a revision on.
pub(crate) struct Page {
    /// The batches, ordered by revision; revisions without a matching change are left out.
    pub(crate) batches: Vec<WatchBatch>,
    /// The next revision to read.
    pub(crate) next: u64,
}

struct Follower<R> {
    revisions: watch::Receiver<u64>,
    read: R,
    next: u64,
    pending: std::vec::IntoIter<WatchBatch>,
    ended: bool,
}

/// The batches from revision `from` on. Calls `read` again whenever the store's revision (the value of `revisions`) has
/// reached the next revision to read. Ends when the store is gone (`read` finds no page), or after an error.
pub(crate) fn follow<R, F>(
    from: u64,
    revisions: watch::Receiver<u64>,
    read: R,
) -> BoxStream<'static, Result<WatchBatch, StoreError>>
where
    R: Fn(u64) -> F + Send + 'static,
    F: Future<Output = Result<Option<Page>, StoreError>> + Send + 'static,
{
    // There is no revision 0, so 0 and 1 both start with the first change.
    let start = Follower { revisions, read, next: from.max(1), pending: Vec::new().into_iter(), ended: false };
    Box::pin(stream::unfold(start, |mut follower| async move {
        loop {
            if follower.ended {
                return None;
            }
            if let Some(batch) = follower.pending.next() {
                return Some((Ok(batch), follower));
            }
            let next = follower.next;
            if follower.revisions.wait_for(|revision| *revision >= next).await.is_err() {
                return None;
            }
            match (follower.read)(next).await {
                Ok(None) => return None,
                Ok(Some(page)) => {
                    follower.next = page.next;
                    follower.pending = page.batches.into_iter();
                }
                Err(error) => {
                    follower.ended = true;
                    return Some((Err(error), follower));
                }
            }
        }
    }))
}

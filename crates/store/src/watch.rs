//! Following the changes of a store by reading its history: a watcher holds a revision and nothing else, so a slow one
//! costs no memory. One that falls behind what the history keeps ends with [`StoreError::Compacted`].

use crate::{StoreError, WatchBatch};
use futures_util::stream::{self, BoxStream};
use std::future::Future;
use tokio::sync::watch;

/// A piece of the history, read from some revision on.
pub(crate) struct Page {
    /// The batches, in the order of their revisions; those without a matching change are left out.
    pub(crate) batches: Vec<WatchBatch>,
    /// The revision to read from next.
    pub(crate) next: u64,
}

struct Follower<R> {
    revisions: watch::Receiver<u64>,
    read: R,
    next: u64,
    pending: std::vec::IntoIter<WatchBatch>,
    ended: bool,
}

/// The batches from revision `from` on: those that `read` finds, and again whenever the store's revision (the value of
/// `revisions`) has reached what is to be read next. Ends when the store is gone (`read` finds no page at all), or after
/// an error.
pub(crate) fn follow<R, F>(
    from: u64,
    revisions: watch::Receiver<u64>,
    read: R,
) -> BoxStream<'static, Result<WatchBatch, StoreError>>
where
    R: Fn(u64) -> F + Send + 'static,
    F: Future<Output = Result<Option<Page>, StoreError>> + Send + 'static,
{
    // No revision is 0, so that "from 0" and "from 1" are both "all that there ever was".
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

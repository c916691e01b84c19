//! Conformance tests that every [`Store`] must pass; [`all`] panics at the first failure.
//!
//! Tests compare revisions with the revision of the fresh store, so a store may start counting anywhere.

// This is a test suite: its purpose is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod keys;
mod transactions;
mod watches;

use crate::{Outcome, Store, StoreError, Txn, WatchBatch};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::time::Duration;

/// How long a change may take to reach a watcher. Far more than any store needs.
const WATCH_DEADLINE: Duration = Duration::from_secs(20);

/// Runs every test, each on a fresh store from `make`. `compact` makes the store discard the changes up to and
/// including a revision. Must run on a tokio runtime with time enabled.
///
/// # Panics
/// If the store fails a test.
pub async fn all<S: Store>(make: impl AsyncFn() -> S, compact: impl AsyncFn(&S, u64)) {
    keys::are_returned_as_they_were_put(&make().await).await;
    keys::are_found_by_prefix_exactly_and_in_order(&make().await).await;
    keys::of_special_characters_are_only_themselves(&make().await).await;
    keys::are_rejected_if_invalid(&make().await).await;
    keys::have_values_of_any_bytes_up_to_the_limit(&make().await).await;

    transactions::are_committed_if_the_revisions_match(&make().await).await;
    transactions::are_committed_if_the_values_match(&make().await).await;
    transactions::create_only_what_is_absent(&make().await).await;
    transactions::are_committed_completely_or_not_at_all(&make().await).await;
    transactions::use_one_revision_each(&make().await).await;
    transactions::that_change_nothing_use_no_revision(&make().await).await;
    transactions::give_a_recreated_key_new_revisions(&make().await).await;
    transactions::are_rejected_if_invalid_for_every_store(&make().await).await;
    transactions::lose_no_increment_when_concurrent(&make().await).await;

    watches::receive_past_and_future_changes(&make().await).await;
    watches::have_one_batch_per_revision_in_transaction_order(&make().await).await;
    watches::receive_only_their_prefix(&make().await).await;
    watches::start_at_the_requested_revision(&make().await).await;
    watches::receive_no_conflicts_and_no_empty_changes(&make().await).await;
    watches::receive_the_same_when_concurrent(&make().await).await;
    watches::read_a_long_history_without_a_gap(&make().await).await;
    watches::fail_for_compacted_revisions(&make().await, &compact).await;
    watches::never_skip_changes_that_are_compacted_meanwhile(&make().await, &compact).await;
    watches::end_with_the_store(make().await).await;
}

/// Commits `txn` and returns its revision.
async fn commit(store: &impl Store, txn: Txn) -> u64 {
    match store.commit(txn).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict => panic!("a transaction whose comparisons hold must be committed"),
    }
}

async fn revision(store: &impl Store) -> u64 {
    store.range("").await.unwrap().revision
}

/// The keys under `prefix`, in the order of the answer.
async fn keys_under(store: &impl Store, prefix: &str) -> Vec<String> {
    store.range(prefix).await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

type Changes = BoxStream<'static, Result<WatchBatch, StoreError>>;

/// The next item of the watch, within the deadline.
async fn next(changes: &mut Changes) -> Option<Result<WatchBatch, StoreError>> {
    tokio::time::timeout(WATCH_DEADLINE, changes.next()).await.expect("a change must reach a watcher in time")
}

/// The next batch of the watch; panics if the watch ends or fails.
async fn next_batch(changes: &mut Changes) -> WatchBatch {
    next(changes).await.expect("the watch must not end").expect("the watch must not fail")
}

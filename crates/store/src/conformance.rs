//! What every [`Store`] must do, as tests that any implementation runs: [`all`] panics at the first thing that is not so.
//!
//! Revisions are compared with that of the fresh store, so that a store may begin to count where it likes.

// A suite of tests: failing is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod keys;
mod transactions;
mod watches;

use crate::{Outcome, Store, StoreError, Txn, WatchBatch};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::time::Duration;

/// How long a change may take to reach a watcher. Far above what any store needs.
const WATCH_DEADLINE: Duration = Duration::from_secs(20);

/// Runs every test, each on a fresh store of `make`. `compact` has the store forget the changes up to and including a
/// revision. Must run on a tokio runtime with time enabled.
///
/// # Panics
/// Where the store does not do as it must.
pub async fn all<S: Store>(make: impl AsyncFn() -> S, compact: impl AsyncFn(&S, u64)) {
    keys::are_read_back_as_they_were_put(&make().await).await;
    keys::are_found_by_prefix_exactly_and_in_order(&make().await).await;
    keys::of_special_characters_are_only_themselves(&make().await).await;
    keys::that_are_none_are_refused(&make().await).await;
    keys::have_values_of_any_bytes_up_to_the_limit(&make().await).await;

    transactions::are_done_if_the_revisions_are_as_expected(&make().await).await;
    transactions::are_done_if_the_values_are_as_expected(&make().await).await;
    transactions::create_only_what_is_absent(&make().await).await;
    transactions::are_done_wholly_or_not_at_all(&make().await).await;
    transactions::use_one_revision_each(&make().await).await;
    transactions::that_change_nothing_use_no_revision(&make().await).await;
    transactions::give_a_recreated_key_new_revisions(&make().await).await;
    transactions::that_no_store_takes_are_refused(&make().await).await;
    transactions::side_by_side_lose_no_increment(&make().await).await;

    watches::see_what_was_before_and_what_comes(&make().await).await;
    watches::have_one_batch_a_revision_in_the_order_of_the_transaction(&make().await).await;
    watches::see_only_their_prefix(&make().await).await;
    watches::begin_at_the_revision_asked_for(&make().await).await;
    watches::do_not_see_conflicts_and_changes_of_nothing(&make().await).await;
    watches::beside_each_other_see_the_same(&make().await).await;
    watches::read_a_long_history_without_a_gap(&make().await).await;
    watches::of_forgotten_revisions_are_told(&make().await, &compact).await;
    watches::never_skip_silently_what_was_forgotten_meanwhile(&make().await, &compact).await;
    watches::end_with_the_store(make().await).await;
}

/// The revision that `txn` was done at.
async fn commit(store: &impl Store, txn: Txn) -> u64 {
    match store.commit(txn).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict => panic!("a transaction whose comparisons hold must be done"),
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

/// What the watch has next, within the deadline.
async fn next(changes: &mut Changes) -> Option<Result<WatchBatch, StoreError>> {
    tokio::time::timeout(WATCH_DEADLINE, changes.next()).await.expect("a change must reach a watcher in time")
}

/// The next batch of the watch, which must have one.
async fn next_batch(changes: &mut Changes) -> WatchBatch {
    next(changes).await.expect("the watch must not end").expect("the watch must not fail")
}

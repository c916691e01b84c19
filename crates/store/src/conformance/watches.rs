//! Watches: every change exactly once, in order, from the requested revision on; or an error, never a gap.

use super::{Changes, commit, next, next_batch, revision};
use crate::{Entry, Outcome, Store, StoreError, Txn, WatchEvent};
use futures_util::StreamExt;
use futures_util::future::join_all;

async fn watch(store: &impl Store, prefix: &str, from: u64) -> Changes {
    store.watch(prefix, from).await.unwrap()
}

fn put(key: &str, value: &str, create_revision: u64, mod_revision: u64) -> WatchEvent {
    WatchEvent::Put(Entry { key: key.to_owned(), value: value.as_bytes().to_vec(), create_revision, mod_revision })
}

fn delete(key: &str) -> WatchEvent {
    WatchEvent::Delete { key: key.to_owned() }
}

pub(super) async fn receive_past_and_future_changes(store: &impl Store) {
    let first = commit(store, Txn::new().put("/a", "1")).await;
    let mut changes = watch(store, "", first).await;
    assert_eq!(next_batch(&mut changes).await.events, [put("/a", "1", first, first)], "the past");

    let second = commit(store, Txn::new().put("/a", "2")).await;
    let third = commit(store, Txn::new().delete("/a")).await;
    assert_eq!(next_batch(&mut changes).await.events, [put("/a", "2", first, second)]);
    let gone = next_batch(&mut changes).await;
    assert_eq!((gone.revision, gone.events), (third, vec![delete("/a")]));

    // Waits before there is a change.
    let (batch, fourth) = tokio::join!(next_batch(&mut changes), async {
        tokio::task::yield_now().await;
        commit(store, Txn::new().put("/a", "4")).await
    });
    assert_eq!((batch.revision, batch.events), (fourth, vec![put("/a", "4", fourth, fourth)]));
}

pub(super) async fn have_one_batch_per_revision_in_transaction_order(store: &impl Store) {
    let first = commit(store, Txn::new().put("/c", "1").put("/a", "1")).await;
    let second = commit(store, Txn::new().put("/b", "2").delete("/c").put("/a", "2")).await;
    let mut changes = watch(store, "", first).await;
    let batch = next_batch(&mut changes).await;
    assert_eq!(batch.revision, first);
    assert_eq!(batch.events, [put("/c", "1", first, first), put("/a", "1", first, first)]);
    let batch = next_batch(&mut changes).await;
    assert_eq!(batch.revision, second);
    assert_eq!(batch.events, [put("/b", "2", second, second), delete("/c"), put("/a", "2", first, second)]);
}

pub(super) async fn receive_only_their_prefix(store: &impl Store) {
    let first = commit(store, Txn::new().put("/a/1", "x").put("/b/1", "x")).await;
    commit(store, Txn::new().put("/b/2", "x").put("/a", "x").put("/aa", "x").put("x/a/", "x")).await;
    let third = commit(store, Txn::new().delete("/b/1").delete("/a/1")).await;
    let mut changes = watch(store, "/a/", first).await;
    assert_eq!(next_batch(&mut changes).await.events, [put("/a/1", "x", first, first)]);
    let batch = next_batch(&mut changes).await;
    assert_eq!((batch.revision, batch.events), (third, vec![delete("/a/1")]), "the second has nothing for it");
}

pub(super) async fn start_at_the_requested_revision(store: &impl Store) {
    let base = revision(store).await;
    for n in 1..=4 {
        commit(store, Txn::new().put("/a", n.to_string())).await;
    }
    for (from, first) in [(0, base + 1), (base + 1, base + 1), (base + 3, base + 3), (base + 4, base + 4)] {
        assert_eq!(next_batch(&mut watch(store, "", from).await).await.revision, first, "from {from}");
    }
    // Continues after a read of the range, and gets later changes.
    let mut following = watch(store, "", revision(store).await + 1).await;
    let mut later = watch(store, "", base + 6).await;
    for n in 5..=6 {
        commit(store, Txn::new().put("/a", n.to_string())).await;
    }
    assert_eq!(next_batch(&mut following).await.revision, base + 5);
    assert_eq!(next_batch(&mut later).await.revision, base + 6);
}

pub(super) async fn receive_no_conflicts_and_no_empty_changes(store: &impl Store) {
    let mut changes = watch(store, "", revision(store).await + 1).await;
    commit(store, Txn::new().delete("/none")).await;
    assert_eq!(store.commit(Txn::new().expect("/none", 7).put("/a", "x")).await.unwrap(), Outcome::Conflict);
    let at = commit(store, Txn::new().delete("/none").put("/a", "x")).await;
    let batch = next_batch(&mut changes).await;
    assert_eq!((batch.revision, batch.events), (at, vec![put("/a", "x", at, at)]));
}

pub(super) async fn receive_the_same_when_concurrent(store: &impl Store) {
    const CHANGES: u64 = 50;
    let base = revision(store).await;
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(watch(store, "/a", base + 1).await);
    }
    let writer = async {
        for n in 0..CHANGES {
            commit(store, Txn::new().put(format!("/a/{}", n % 7), n.to_string())).await;
        }
    };
    let readers = join_all(watches.iter_mut().map(|changes| async move {
        let mut seen = Vec::new();
        for _ in 0..CHANGES {
            seen.push(next_batch(changes).await);
        }
        seen
    }));
    let (seen, ()) = tokio::join!(readers, writer);
    let revisions: Vec<u64> = seen[0].iter().map(|batch| batch.revision).collect();
    assert_eq!(revisions, (base + 1..=base + CHANGES).collect::<Vec<_>>());
    assert!(seen.iter().all(|other| *other == seen[0]));
}

pub(super) async fn read_a_long_history_without_a_gap(store: &impl Store) {
    const CHANGES: u64 = 300;
    let base = revision(store).await;
    for n in 0..CHANGES {
        // Few keys are watched, with long stretches of other keys between them.
        let key = if n % 100 == 99 { "/watched" } else { "/other" };
        commit(store, Txn::new().put(key, n.to_string())).await;
    }
    let mut all = watch(store, "", base + 1).await;
    for n in 1..=CHANGES {
        assert_eq!(next_batch(&mut all).await.revision, base + n);
    }
    let mut few = watch(store, "/watched", base + 1).await;
    for n in 1..=3 {
        assert_eq!(next_batch(&mut few).await.revision, base + n * 100);
    }
}

pub(super) async fn fail_for_compacted_revisions<S: Store>(store: &S, compact: &impl AsyncFn(&S, u64)) {
    let base = revision(store).await;
    for n in 1..=6 {
        commit(store, Txn::new().put("/a", n.to_string())).await;
    }
    let before = store.range("").await.unwrap();
    compact(store, base + 4).await;
    assert_eq!(store.range("").await.unwrap(), before, "compaction retains the entries");

    for from in [0, base + 1, base + 4] {
        let mut changes = watch(store, "", from).await;
        let error = next(&mut changes).await;
        assert!(matches!(error, Some(Err(StoreError::Compacted { oldest, .. })) if oldest == base + 5), "{error:?}");
        assert!(next(&mut changes).await.is_none(), "the error is the last item");
    }
    let mut changes = watch(store, "", base + 5).await;
    assert_eq!(next_batch(&mut changes).await.revision, base + 5);
    assert_eq!(next_batch(&mut changes).await.revision, base + 6);

    compact(store, base + 6).await;
    let mut changes = watch(store, "", base + 7).await;
    assert_eq!(commit(store, Txn::new().put("/a", "7")).await, base + 7, "revisions continue");
    assert_eq!(next_batch(&mut changes).await.revision, base + 7);
}

pub(super) async fn never_skip_changes_that_are_compacted_meanwhile<S: Store>(
    store: &S,
    compact: &impl AsyncFn(&S, u64),
) {
    let base = revision(store).await;
    let mut slow = watch(store, "", base + 1).await;
    for n in 1..=10 {
        commit(store, Txn::new().put("/a", n.to_string())).await;
    }
    compact(store, base + 8).await;
    // A store may retain changes for a watcher that it knows of, or not: both are correct.
    for n in 1..=10 {
        match next(&mut slow).await {
            Some(Ok(batch)) => assert_eq!(batch.revision, base + n),
            Some(Err(StoreError::Compacted { .. })) => {
                assert!(next(&mut slow).await.is_none());
                break;
            }
            other => panic!("neither the next batch nor an error of a compaction: {other:?}"),
        }
    }
}

pub(super) async fn end_with_the_store(store: impl Store) {
    let at = commit(&store, Txn::new().put("/a", "x")).await;
    let mut changes = watch(&store, "", at).await;
    next_batch(&mut changes).await;
    drop(store);
    let end = tokio::time::timeout(super::WATCH_DEADLINE, changes.next()).await.expect("the watch must end in time");
    assert!(end.is_none_or(|last| last.is_err()), "a closed store sends no changes");
}

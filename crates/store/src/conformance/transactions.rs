//! Transactions: compare, then all or nothing, at one revision.

use super::{commit, keys_under, revision};
use crate::{Outcome, Store, StoreError, TXN_OPS_MAX, Txn};
use futures_util::future::join_all;

async fn conflicts(store: &impl Store, txn: Txn) {
    let before = store.range("").await.unwrap();
    assert_eq!(store.commit(txn.clone()).await.unwrap(), Outcome::Conflict, "{txn:?}");
    assert_eq!(store.range("").await.unwrap(), before, "a conflict changes nothing");
}

pub(super) async fn are_committed_if_the_revisions_match(store: &impl Store) {
    let first = commit(store, Txn::new().put("/a", "1")).await;
    let second = commit(store, Txn::new().expect("/a", first).put("/a", "2")).await;
    conflicts(store, Txn::new().expect("/a", first).put("/a", "3")).await;
    conflicts(store, Txn::new().expect("/a", second + 1).put("/a", "3")).await;
    conflicts(store, Txn::new().expect("/a", 0).put("/a", "3")).await;
    conflicts(store, Txn::new().expect("/b", second).put("/a", "3")).await;

    // The key's revision counts, not the store's.
    commit(store, Txn::new().put("/other", "x")).await;
    commit(store, Txn::new().expect("/a", second).put("/a", "3")).await;
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, b"3");
    // The compared key and the changed key may differ.
    let other = store.get("/other").await.unwrap().unwrap().mod_revision;
    commit(store, Txn::new().expect("/other", other).delete("/a")).await;
    assert_eq!(keys_under(store, "").await, ["/other"]);
}

pub(super) async fn are_committed_if_the_values_match(store: &impl Store) {
    commit(store, Txn::new().put("/a", "1").put("/empty", "")).await;
    commit(store, Txn::new().expect_value("/a", "1").expect_value("/empty", "").put("/a", "2")).await;
    conflicts(store, Txn::new().expect_value("/a", "1").put("/a", "3")).await;
    conflicts(store, Txn::new().expect_value("/a", "").put("/a", "3")).await;
    conflicts(store, Txn::new().expect_value("/none", "").put("/a", "3")).await;
    conflicts(store, Txn::new().expect_value("/a", "2").expect("/a", 0).put("/a", "3")).await;
}

pub(super) async fn create_only_what_is_absent(store: &impl Store) {
    commit(store, Txn::new().expect("/a", 0).put("/a", "1")).await;
    conflicts(store, Txn::new().expect("/a", 0).put("/a", "2")).await;
    commit(store, Txn::new().delete("/a")).await;
    commit(store, Txn::new().expect("/a", 0).put("/a", "3")).await;
}

pub(super) async fn are_committed_completely_or_not_at_all(store: &impl Store) {
    let one = commit(store, Txn::new().put("/1", "x").put("/2", "x")).await;
    conflicts(store, Txn::new().expect("/1", one).expect("/2", 0).put("/1", "y").delete("/2").put("/3", "y")).await;
    conflicts(store, Txn::new().expect("/2", 0).expect("/1", one).put("/1", "y").delete("/2").put("/3", "y")).await;
    let two =
        commit(store, Txn::new().expect("/1", one).expect("/2", one).put("/1", "y").delete("/2").put("/3", "y")).await;
    assert_eq!(keys_under(store, "").await, ["/1", "/3"]);
    let range = store.range("").await.unwrap();
    assert!(range.entries.iter().all(|entry| entry.mod_revision == two && entry.value == b"y"), "{range:?}");

    let most = (0..TXN_OPS_MAX).fold(Txn::new(), |txn, n| txn.put(format!("/many/{n:03}"), "x"));
    let revision = commit(store, most).await;
    let many = store.range("/many/").await.unwrap().entries;
    assert_eq!(many.len(), TXN_OPS_MAX);
    assert!(many.iter().all(|entry| entry.mod_revision == revision));
}

pub(super) async fn use_one_revision_each(store: &impl Store) {
    let base = revision(store).await;
    for n in 1..=5 {
        let at = commit(store, Txn::new().put("/a", "x").put(format!("/{n}"), "x")).await;
        assert_eq!(at, base + n, "revisions increase by one");
        assert_eq!(revision(store).await, at);
    }
    // A put of the same value is a change too: it shows that somebody wrote the key.
    assert_eq!(commit(store, Txn::new().put("/a", "x")).await, base + 6);
}

pub(super) async fn that_change_nothing_use_no_revision(store: &impl Store) {
    let at = commit(store, Txn::new().put("/a", "x")).await;
    assert_eq!(commit(store, Txn::new()).await, at);
    assert_eq!(commit(store, Txn::new().expect("/a", at)).await, at, "a transaction may consist of a comparison alone");
    assert_eq!(commit(store, Txn::new().delete("/none").delete("/nothing")).await, at);
    conflicts(store, Txn::new().expect("/a", 0)).await;
    assert_eq!(commit(store, Txn::new().delete("/none").delete("/a")).await, at + 1);
}

pub(super) async fn give_a_recreated_key_new_revisions(store: &impl Store) {
    let first = commit(store, Txn::new().put("/a", "1")).await;
    commit(store, Txn::new().delete("/a")).await;
    assert_eq!(store.get("/a").await.unwrap(), None);
    let again = commit(store, Txn::new().put("/a", "1")).await;
    let entry = store.get("/a").await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (again, again));
    // A reader of the first key must not mistake the second key for it.
    conflicts(store, Txn::new().expect("/a", first).put("/a", "2")).await;
}

pub(super) async fn are_rejected_if_invalid_for_every_store(store: &impl Store) {
    let at = commit(store, Txn::new().put("/a", "x")).await;
    let too_many = (0..=TXN_OPS_MAX).fold(Txn::new(), |txn, n| txn.put(format!("/{n}"), "x"));
    let too_many_compares = (0..=TXN_OPS_MAX).fold(Txn::new(), |txn, n| txn.expect(format!("/{n}"), 0)).put("/a", "y");
    for txn in [
        Txn::new().put("/a", "1").put("/a", "2"),
        Txn::new().put("/a", "1").delete("/a"),
        Txn::new().delete("/a").put("/b", "1").delete("/a"),
        too_many,
        too_many_compares,
    ] {
        let result = store.commit(txn).await;
        assert!(matches!(result, Err(StoreError::Invalid(_))), "{result:?}");
    }
    assert_eq!(revision(store).await, at);
    assert_eq!(keys_under(store, "").await, ["/a"]);
    let as_many_as_go = (0..TXN_OPS_MAX).map(|n| format!("/many/{n}"));
    commit(store, as_many_as_go.fold(Txn::new(), |txn, key| txn.expect(&key, 0).put(&key, "x"))).await;
    assert_eq!(keys_under(store, "/many/").await.len(), TXN_OPS_MAX);
}

pub(super) async fn lose_no_increment_when_concurrent(store: &impl Store) {
    const WRITERS: usize = 8;
    const INCREMENTS: usize = 25;
    let increment = || async {
        loop {
            let entry = store.get("/count").await.unwrap();
            let count = entry.as_ref().map_or(0, |entry| str::from_utf8(&entry.value).unwrap().parse().unwrap());
            let seen = entry.map_or(0, |entry| entry.mod_revision);
            // Lets other writers run between the read and the write.
            tokio::task::yield_now().await;
            let next: usize = count + 1;
            let txn = Txn::new().expect("/count", seen).put("/count", next.to_string());
            if let Outcome::Committed { .. } = store.commit(txn).await.unwrap() {
                break;
            }
        }
    };
    let before = revision(store).await;
    join_all((0..WRITERS).map(|_| async {
        for _ in 0..INCREMENTS {
            increment().await;
        }
    }))
    .await;
    let count = store.get("/count").await.unwrap().unwrap();
    assert_eq!(count.value, (WRITERS * INCREMENTS).to_string().into_bytes());
    assert_eq!(revision(store).await, before + (WRITERS * INCREMENTS) as u64, "a conflict uses no revision");
}

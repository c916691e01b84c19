//! The store in memory: the conformance suite and its bounds.

use futures_util::StreamExt;
use gapless_store::{MemoryStore, Store, StoreError, Txn, conformance};

#[tokio::test]
async fn memory_store_passes_conformance() {
    conformance::all(async || MemoryStore::new(), async |store, through| store.compact(through)).await;
}

#[tokio::test]
async fn clone_shares_the_state() {
    let store = MemoryStore::new();
    let after_the_crash = store.clone();
    store.commit(Txn::new().put("/a", "x")).await.unwrap();
    drop(store);
    assert_eq!(after_the_crash.get("/a").await.unwrap().unwrap().value, b"x");
}

#[tokio::test]
async fn history_is_bounded_in_revisions_and_bytes() {
    const MIB: usize = 1 << 20;
    for (kept, value) in [(10_000, 1), (64, MIB)] {
        let store = MemoryStore::new();
        for _ in 0..kept {
            store.commit(Txn::new().put("/a", vec![0; value])).await.unwrap();
        }
        let oldest = async || store.watch("", 1).await.unwrap().next().await.unwrap();
        assert_eq!(oldest().await.unwrap().revision, 1, "{kept} revisions of {value} bytes are retained");
        store.commit(Txn::new().put("/a", "x")).await.unwrap();
        assert!(matches!(oldest().await, Err(StoreError::Compacted { oldest: 2, .. })), "and one more is not");
    }
}

//! The store in memory.

use gapless_store::{MemoryStore, Store, Txn, conformance};

#[tokio::test]
async fn the_store_in_memory_does_what_every_store_must() {
    conformance::all(async || MemoryStore::new(), async |store, through| store.compact(through)).await;
}

#[tokio::test]
async fn a_clone_is_another_handle_on_the_same_state() {
    let store = MemoryStore::new();
    let after_the_crash = store.clone();
    store.commit(Txn::new().put("/a", "x")).await.unwrap();
    drop(store);
    assert_eq!(after_the_crash.get("/a").await.unwrap().unwrap().value, b"x");
}

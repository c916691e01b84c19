//! The store on a real etcd: what every store must do, and what goes wrong with an etcd, told to a person.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod certificates;
mod daemon;
mod fenced;
mod trouble;

use daemon::Etcd;
use futures_util::StreamExt;
use gapless_store::{EtcdConfig, EtcdStore, Store, StoreError, Txn, conformance};
use std::cell::Cell;
use std::time::Duration;

/// A store under that prefix.
async fn store(etcd: &Etcd, prefix: &str) -> EtcdStore {
    EtcdStore::open(&EtcdConfig { prefix: prefix.to_owned(), ..EtcdConfig::new([etcd.endpoint()]) }).await.unwrap()
}

#[tokio::test]
async fn the_store_on_etcd_does_what_every_store_must() {
    let etcd = Etcd::start();
    let count = Cell::new(0);
    let make = async || {
        count.set(count.get() + 1);
        store(&etcd, &format!("/{:02}", count.get())).await
    };
    Box::pin(conformance::all(make, async |store, through| store.compact(through).await.unwrap())).await;
}

#[tokio::test]
async fn keys_of_other_programs_are_not_seen_and_plain_ones_are_as_they_are() {
    let etcd = Etcd::start();
    etcd.ctl(&["put", "/gapless/apps/other", "not below the prefix"]);
    etcd.ctl(&["put", "/shop/port", "9001"]);
    let config = EtcdConfig {
        prefix: "/team".to_owned(),
        plain_below: Some("/kv".to_owned()),
        ..EtcdConfig::new([etcd.endpoint()])
    };
    let store = EtcdStore::open(&config).await.unwrap();
    assert_eq!(store.range("/gapless/").await.unwrap().entries, []);
    let mut changes = store.watch("/kv/shop", 0).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().events[0].key(), "/kv/shop/port");
    store.commit(Txn::new().put("/gapless/apps/a", "1").put("/kv/shop/instance", "green")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().events[0].key(), "/kv/shop/instance");
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/shop/instance"]).trim(), "green");
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/team/gapless/apps/a"]).trim(), "1");
    let keys: Vec<_> = store.range("/kv/").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert!(keys.contains(&"/kv/shop/port".to_owned()) && keys.contains(&"/kv/team/gapless/apps/a".to_owned()));
}

#[tokio::test]
async fn a_range_larger_than_a_page_is_of_one_revision() {
    let etcd = Etcd::start();
    let store = store(&etcd, "").await;
    for chunk in 0..5 {
        let txn = (0..100).fold(Txn::new(), |txn, n| txn.put(format!("/many/{chunk}{n:02}"), vec![b'x'; 9000]));
        store.commit(txn).await.unwrap();
    }
    let (range, ()) = tokio::join!(store.range("/many/"), async {
        for n in 0..20 {
            store.commit(Txn::new().put(format!("/many/{n}-new"), "x").delete(format!("/many/4{n:02}"))).await.unwrap();
        }
    });
    let range = range.unwrap();
    assert_eq!(range.entries.len(), 500, "as many as there were at every revision");
    assert!(range.entries.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert!(range.entries.iter().all(|entry| entry.mod_revision <= range.revision));
}

#[tokio::test]
async fn large_histories_come_in_pieces() {
    let etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let from = store.range("").await.unwrap().revision + 1;
    for n in 0..12_u8 {
        store.commit(Txn::new().put("/a", vec![n; 600 << 10]).put("/b", vec![n; 600 << 10])).await.unwrap();
    }
    let mut changes = store.watch("", from).await.unwrap();
    for n in 0..12_u8 {
        let batch = changes.next().await.unwrap().unwrap();
        assert_eq!((batch.revision, batch.events.len()), (from + u64::from(n), 2), "whole revisions");
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_etcd_was_killed_and_started_again() {
    let mut etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let first = store.range("").await.unwrap().revision + 1;
    let mut changes = store.watch("/a", first).await.unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first);
    etcd.kill();
    let error = store.commit(Txn::new().put("/a", "lost")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(store.get("/a").await.unwrap_err().to_string().contains("refused"));
    etcd.start_again();
    etcd.ctl(&["put", "/a", "2"]);
    etcd.ctl(&["del", "/a"]);
    let put = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap().unwrap().unwrap();
    let delete = changes.next().await.unwrap().unwrap();
    assert_eq!((put.revision, delete.revision), (first + 1, first + 2), "nothing is missed and nothing comes twice");
    store.commit(Txn::new().put("/a", "3")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first + 3);
}

#[tokio::test]
async fn a_compaction_under_a_watch_is_told_or_not_noticed() {
    let mut etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let first = store.range("").await.unwrap().revision + 1;
    let mut changes = store.watch("/a", first).await.unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first);
    // It was shown everything, so a compaction takes nothing from it.
    store.compact(first).await.unwrap();
    store.commit(Txn::new().put("/a", "2")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first + 1);
    // What is compacted while it is away is missed, and that is told.
    etcd.kill();
    etcd.start_again();
    let mut late = store.watch("/a", first).await.unwrap();
    etcd.ctl(&["del", "/a"]);
    etcd.ctl(&["compact", &(first + 2).to_string()]);
    let told = late.next().await.unwrap();
    assert_eq!(told, Err(StoreError::Compacted { from: first, oldest: first + 3 }));
    assert!(late.next().await.is_none());
}

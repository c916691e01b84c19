//! The store on a real etcd: the conformance suite, and the faults of an etcd.

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

/// A store with the given prefix.
async fn store(etcd: &Etcd, prefix: &str) -> EtcdStore {
    EtcdStore::open(&EtcdConfig { prefix: prefix.to_owned(), ..EtcdConfig::new([etcd.endpoint()]) }).await.unwrap()
}

#[tokio::test]
async fn etcd_store_passes_conformance() {
    let etcd = Etcd::start();
    let count = Cell::new(0);
    let make = async || {
        count.set(count.get() + 1);
        store(&etcd, &format!("/{:02}", count.get())).await
    };
    Box::pin(conformance::all(make, async |store, through| store.compact(through).await.unwrap())).await;
}

#[tokio::test]
async fn foreign_keys_are_invisible_and_plain_keys_unchanged() {
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
async fn range_over_several_pages_has_one_revision() {
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
    assert_eq!(range.entries.len(), 500, "the number of entries at every revision");
    assert!(range.entries.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert!(range.entries.iter().all(|entry| entry.mod_revision <= range.revision));
}

#[tokio::test]
async fn large_histories_arrive_in_pieces() {
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
async fn watch_continues_after_etcd_was_killed_and_restarted() {
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
    assert_eq!((put.revision, delete.revision), (first + 1, first + 2), "no change is missed or repeated");
    store.commit(Txn::new().put("/a", "3")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first + 3);
}

#[tokio::test]
async fn watch_reports_a_compaction_only_if_it_lost_changes() {
    let mut etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let first = store.range("").await.unwrap().revision + 1;
    let mut changes = store.watch("/a", first).await.unwrap();
    store.commit(Txn::new().put("/a", "1")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first);
    // The watch has already received everything, so a compaction takes nothing from it.
    store.compact(first).await.unwrap();
    store.commit(Txn::new().put("/a", "2")).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().revision, first + 1);
    // A compaction while the watch is disconnected loses changes, which the watch reports.
    etcd.kill();
    etcd.start_again();
    let mut late = store.watch("/a", first).await.unwrap();
    etcd.ctl(&["del", "/a"]);
    etcd.ctl(&["compact", &(first + 2).to_string()]);
    let told = late.next().await.unwrap();
    assert_eq!(told, Err(StoreError::Compacted { from: first, oldest: first + 3 }));
    assert!(late.next().await.is_none());
}

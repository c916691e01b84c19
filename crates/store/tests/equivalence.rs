//! The store on SQLite and the store in memory behave the same, so that results of the simulator hold for SQLite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::{FutureExt, StreamExt};
use gapless_store::{MemoryStore, SqliteStore, Store, StoreError, Txn, WatchBatch};
use proptest::prelude::*;

/// An operation that is applied to both stores.
#[derive(Debug, Clone)]
enum Step {
    Commit(Txn),
    Range(String),
    Watch(String, u64),
    Compact(u64),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    // Few keys, so that they collide; of characters that are special to patterns and orderings.
    "[/a%_*é\u{10ffff}]{0,3}"
}

fn txn() -> impl Strategy<Value = Txn> {
    let compares = prop::collection::vec((key(), prop_oneof![Just(None), (0_u64..30).prop_map(Some)]), 0..2);
    let ops = prop::collection::vec((key(), prop::option::weighted(0.7, 0_u8..3)), 0..4);
    (compares, ops).prop_map(|(compares, ops)| {
        let txn = compares.into_iter().fold(Txn::new(), |txn, (key, revision)| match revision {
            Some(revision) => txn.expect(key, revision),
            None => txn.expect_value(key, [1]),
        });
        ops.into_iter().fold(txn, |txn, (key, value)| match value {
            Some(value) => txn.put(key, [value]),
            None => txn.delete(key),
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => txn().prop_map(Step::Commit),
        3 => key().prop_map(Step::Range),
        3 => (key(), 0_u64..30).prop_map(|(prefix, from)| Step::Watch(prefix, from)),
        1 => (0_u64..30).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

/// The changes that a watch has now: up to the store's last change, or an error.
async fn available_changes(
    store: &impl Store,
    prefix: &str,
    from: u64,
) -> Result<Vec<Result<WatchBatch, StoreError>>, StoreError> {
    // The watch of all keys, filtered here, ends with the store's last change.
    let end = store.range("").await?.revision;
    let mut changes = store.watch(prefix, from).await?;
    let mut everything = store.watch("", from).await?;
    let mut expected = Vec::new();
    let mut at = from;
    while at <= end {
        let Some(next) = (if end == 0 { None } else { everything.next().await }) else { break };
        match next {
            Ok(batch) => {
                at = batch.revision + 1;
                if batch.events.iter().any(|event| event.key().starts_with(prefix)) {
                    expected.push(changes.next().await.expect("as many changes as the watch of all keys"));
                }
            }
            Err(error) => {
                expected.push(Err(error));
                return Ok(expected);
            }
        }
    }
    assert!(changes.next().now_or_never().is_none(), "the watch has too many changes");
    Ok(expected)
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let memory = MemoryStore::new();
    let mut sqlite = SqliteStore::open(&path).unwrap();
    for step in steps {
        match &step {
            Step::Commit(txn) => {
                assert_eq!(sqlite.commit(txn.clone()).await, memory.commit(txn.clone()).await, "{step:?}");
            }
            Step::Range(prefix) => {
                assert_eq!(sqlite.range(prefix).await, memory.range(prefix).await, "{step:?}");
                assert_eq!(sqlite.get(prefix).await, memory.get(prefix).await, "{step:?}");
            }
            Step::Watch(prefix, from) => {
                assert_eq!(
                    available_changes(&sqlite, prefix, *from).await,
                    available_changes(&memory, prefix, *from).await,
                    "{step:?}"
                );
            }
            Step::Compact(through) => {
                memory.compact(*through);
                sqlite.compact(*through).await.unwrap();
            }
            Step::Reopen => {
                drop(sqlite);
                sqlite = SqliteStore::open(&path).unwrap();
            }
        }
    }
    assert_eq!(sqlite.range("").await, memory.range("").await);
    assert_eq!(available_changes(&sqlite, "", 0).await, available_changes(&memory, "", 0).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_and_memory_answer_any_requests_alike(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}

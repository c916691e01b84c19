//! Keys that are held by a lease, and the fence that they are for the transactions of whoever holds them.

use super::daemon::Etcd;
use super::store;
use gapless_store::{Held, Outcome, Session, Store, StoreError, Txn};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn what_is_held_is_held_by_one_and_vanishes_with_its_holder() {
    let etcd = Etcd::start();
    let store = store(&etcd, "/x").await;
    let first = Session::begin(&store, TTL).await.unwrap();
    let second = Session::begin(&store, TTL).await.unwrap();
    let held = first.hold("/leader", b"first").await.unwrap().unwrap();
    assert_eq!(first.hold("/leader", b"first").await.unwrap(), Ok(held), "asking again changes nothing");
    assert_eq!(second.hold("/leader", b"second").await.unwrap().unwrap_err().value, b"first");
    // Dropped without a word, as by a kill.
    drop(first);
    let begun = Instant::now();
    while second.hold("/leader", b"second").await.unwrap().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it must vanish within 5 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.end().await;
    assert_eq!(store.get("/leader").await.unwrap(), None, "given back at once");
}

#[tokio::test]
async fn a_deposed_holder_changes_nothing_any_more() {
    let etcd = Etcd::start();
    let store = store(&etcd, "/x").await;
    let first = Session::begin(&store, TTL).await.unwrap();
    let fenced = first.fenced(&store, &first.hold("/leader", b"first").await.unwrap().unwrap());
    let at = match fenced.commit(Txn::new().put("/a", "1")).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict => panic!("it leads"),
    };
    assert_eq!(fenced.commit(Txn::new().expect("/a", 7).put("/a", "x")).await.unwrap(), Outcome::Conflict);

    etcd.ctl(&["del", "/x/leader"]);
    assert_eq!(fenced.commit(Txn::new().expect("/a", at).put("/a", "2")).await, Err(StoreError::Deposed));
    let second = Session::begin(&store, TTL).await.unwrap();
    let successor = second.fenced(&store, &second.hold("/leader", b"second").await.unwrap().unwrap());
    // The key is there again, but it is another's.
    assert_eq!(fenced.commit(Txn::new().expect("/a", at).put("/a", "2")).await, Err(StoreError::Deposed));
    assert!(matches!(
        successor.commit(Txn::new().expect("/a", at).put("/a", "3")).await,
        Ok(Outcome::Committed { .. })
    ));
    assert_eq!(store.read_only().commit(Txn::new().put("/a", "4")).await, Err(StoreError::Deposed));
    assert_eq!(store.read_only().get("/a").await.unwrap().unwrap().value, b"3");
}

#[tokio::test]
async fn a_session_is_lost_by_its_own_clock_when_etcd_is_away_and_not_before() {
    let mut etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let session = Session::begin(&store, TTL).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * TTL {
        assert!(session.is_valid());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    etcd.kill();
    tokio::time::timeout(TTL + Duration::from_secs(2), session.lost()).await.expect("it must notice");
    assert!(!session.is_valid());
    // Who was paused for so long acts on nothing that it reads: etcd need not even be asked.
    let held = Held { key: "/leader".to_owned(), create_revision: 1 };
    assert_eq!(session.fenced(&store, &held).get("/a").await, Err(StoreError::Deposed));
}

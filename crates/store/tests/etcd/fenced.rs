//! Keys that a lease owns, and the fence that they form for their owner's transactions.

use super::daemon::Etcd;
use super::store;
use gapless_store::{EtcdConfig, EtcdStore, LeasedKey, Outcome, Session, Store, StoreError, Txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Three proxies to one etcd, in place of three members. Each can fall silent: it accepts connections and data and
/// answers nothing, as a member with an unplugged cable does, until the client notices.
struct MemberProxies {
    endpoints: Vec<String>,
    silent: Arc<AtomicUsize>,
    /// The last proxy that forwarded an answer.
    answered: Arc<AtomicUsize>,
}

impl MemberProxies {
    const NONE: usize = usize::MAX;

    async fn to(etcd: &Etcd) -> MemberProxies {
        let [silent, answered] = [MemberProxies::NONE; 2].map(|member| Arc::new(AtomicUsize::new(member)));
        let mut endpoints = Vec::new();
        for member in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            endpoints.push(format!("http://{}", listener.local_addr().unwrap()));
            let (silent, answered) = (silent.clone(), answered.clone());
            let to = etcd.endpoint().trim_start_matches("http://").to_owned();
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_etcd, mut to_etcd) = TcpStream::connect(&to).await.unwrap().into_split();
                    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_etcd).await });
                    let (silent, answered) = (silent.clone(), answered.clone());
                    tokio::spawn(async move {
                        let mut buffer = [0; 4096];
                        while let Ok(count @ 1..) = from_etcd.read(&mut buffer).await {
                            while silent.load(Ordering::Relaxed) == member {
                                tokio::time::sleep(Duration::from_millis(10)).await;
                            }
                            answered.store(member, Ordering::Relaxed);
                            if to_client.write_all(&buffer[..count]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        }
        MemberProxies { endpoints, silent, answered }
    }
}

#[tokio::test]
async fn session_survives_a_silent_member() {
    let etcd = Etcd::start();
    let proxies = MemberProxies::to(&etcd).await;
    let store = EtcdStore::open(&EtcdConfig::new(proxies.endpoints.clone())).await.unwrap();
    let session = Session::start(&store, TTL).await.unwrap();
    for round in 0..4 {
        // The member that keeps the lease alive at the moment.
        tokio::time::sleep(TTL / 2).await;
        proxies.silent.store(proxies.answered.load(Ordering::Relaxed), Ordering::Relaxed);
        let lost = tokio::time::timeout(TTL + Duration::from_secs(1), session.lost()).await;
        assert!(lost.is_err(), "lost in round {round}, with two of three members healthy");
        proxies.silent.store(MemberProxies::NONE, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn takeover_and_reads_are_not_delayed_by_a_silent_member() {
    let etcd = Etcd::start();
    let proxies = MemberProxies::to(&etcd).await;
    let store = EtcdStore::open(&EtcdConfig::new(proxies.endpoints.clone())).await.unwrap();
    let session = Session::start(&store, TTL).await.unwrap();
    for silent in 0..3 {
        proxies.silent.store(silent, Ordering::Relaxed);
        for number in 0..5 {
            let key = format!("/{silent}/{number}");
            let begun = Instant::now();
            session.acquire(&key, b"first").await.unwrap().unwrap();
            assert_eq!(store.get(&key).await.unwrap().unwrap().value, b"first");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?} with two of three members healthy");
        }
    }
}

const TTL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn leased_key_has_one_owner_and_vanishes_with_it() {
    let etcd = Etcd::start();
    let store = store(&etcd, "/x").await;
    let first = Session::start(&store, TTL).await.unwrap();
    let second = Session::start(&store, TTL).await.unwrap();
    let leased = first.acquire("/leader", b"first").await.unwrap().unwrap();
    assert_eq!(first.acquire("/leader", b"first").await.unwrap(), Ok(leased), "asking again changes nothing");
    assert_eq!(second.acquire("/leader", b"second").await.unwrap().unwrap_err().value, b"first");
    // Dropped without revoking the lease, as by a kill.
    drop(first);
    let begun = Instant::now();
    while second.acquire("/leader", b"second").await.unwrap().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the key must vanish within 5 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.end().await;
    assert_eq!(store.get("/leader").await.unwrap(), None, "the lease is revoked at once");
}

#[tokio::test]
async fn deposed_owner_cannot_commit() {
    let etcd = Etcd::start();
    let store = store(&etcd, "/x").await;
    let first = Session::start(&store, TTL).await.unwrap();
    let fenced = first.fenced(&store, &first.acquire("/leader", b"first").await.unwrap().unwrap());
    let at = match fenced.commit(Txn::new().put("/a", "1")).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict => panic!("this session owns the key"),
    };
    assert_eq!(fenced.commit(Txn::new().expect("/a", 7).put("/a", "x")).await.unwrap(), Outcome::Conflict);

    etcd.ctl(&["del", "/x/leader"]);
    assert!(first.is_valid(), "the lease still exists");
    assert_eq!(fenced.commit(Txn::new().expect("/a", at).put("/a", "2")).await, Err(StoreError::Deposed));
    tokio::time::timeout(Duration::from_millis(100), first.lost()).await.expect("notified at once");
    tokio::time::sleep(TTL / 2).await;
    assert!(!first.is_valid(), "a lost lease stays lost");
    let second = Session::start(&store, TTL).await.unwrap();
    let successor = second.fenced(&store, &second.acquire("/leader", b"second").await.unwrap().unwrap());
    // The key exists again, but another session owns it.
    assert_eq!(fenced.commit(Txn::new().expect("/a", at).put("/a", "2")).await, Err(StoreError::Deposed));
    assert!(matches!(
        successor.commit(Txn::new().expect("/a", at).put("/a", "3")).await,
        Ok(Outcome::Committed { .. })
    ));
    assert_eq!(store.read_only().commit(Txn::new().put("/a", "4")).await, Err(StoreError::Deposed));
    assert_eq!(store.read_only().get("/a").await.unwrap().unwrap().value, b"3");
}

#[tokio::test]
async fn session_expires_by_its_own_clock_when_etcd_is_unreachable() {
    let mut etcd = Etcd::start();
    let store = store(&etcd, "").await;
    let session = Session::start(&store, TTL).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * TTL {
        assert!(session.is_valid());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    etcd.kill();
    tokio::time::timeout(TTL + Duration::from_secs(2), session.lost()).await.expect("the session must notice");
    assert!(!session.is_valid());
    // A server that was paused so long gets no reads either, even without an answer of etcd.
    let leased = LeasedKey { key: "/leader".to_owned(), create_revision: 1 };
    assert_eq!(session.fenced(&store, &leased).get("/a").await, Err(StoreError::Deposed));
}

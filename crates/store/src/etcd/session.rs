//! A lease and the keys that are held by it: they vanish when whoever holds them is gone. What is held is a hint; that
//! it still is, is compared in every transaction of a fenced store.

use super::trouble::Trouble;
use super::{EtcdStore, Fence, entry, revision_from, revision_to};
use crate::{Entry, StoreError};
use etcd_client::{CompareOp, LeaseClient, PutOptions, TxnOp, TxnOpResponse};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How soon the lease is kept alive again after that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How soon another member is asked beside one that does not answer.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(250);
/// How many are asked at once.
const ASKED_MAX: usize = 12;

/// A lease that is kept alive until it is dropped, or etcd has not answered for its time to live.
pub struct Session {
    lease: i64,
    store: EtcdStore,
    valid_until: Arc<watch::Sender<Instant>>,
    keeper: JoinHandle<()>,
}

/// A key that is held by a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The key.
    pub key: String,
    /// The revision at which it was created, and by which it is told from the same key held by another.
    pub create_revision: u64,
}

impl Session {
    /// Asks etcd for a lease of `ttl`, which it rounds up to 2 s at least, and keeps it alive.
    ///
    /// # Errors
    /// As of any call to the store.
    pub async fn begin(store: &EtcdStore, ttl: Duration) -> Result<Session, StoreError> {
        let store = EtcdStore { fence: None, ..store.clone() };
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let asked_at = Instant::now();
        // Of several leases those that are not kept alive run out.
        let granted = store.connection.ask(|client| async move { client.lease_client().grant(seconds, None).await });
        let granted = granted.await.map_err(|trouble| store.failed(trouble))?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or_default());
        let valid_until = Arc::new(watch::Sender::new(asked_at + ttl));
        let keeper =
            tokio::spawn(keep_alive(store.connection.client.lease_client(), granted.id(), ttl, valid_until.clone()));
        Ok(Session { lease: granted.id(), store, valid_until, keeper })
    }

    /// Whether the lease is certain to exist still, by this host's clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        Instant::now() < *self.valid_until.borrow()
    }

    /// The same store, but each commit is done only if `held` still is: else it answers [`StoreError::Deposed`], as
    /// everything does once the lease is not certain to exist any more. It takes one comparison less than others, since
    /// the fence is one.
    #[must_use]
    pub fn fenced(&self, store: &EtcdStore, held: &Held) -> EtcdStore {
        let fence = Fence {
            key: store.layout.in_etcd(&held.key),
            create_revision: revision_to(held.create_revision),
            valid_until: self.valid_until.clone(),
        };
        EtcdStore { fence: Some(fence), ..store.clone() }
    }

    /// Waits until the lease is not certain to exist any more, or a commit was refused because what was held is not any
    /// more.
    pub async fn lost(&self) {
        let mut changes = self.valid_until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Holds `key` with that value, if nobody does; else the entry of whoever does.
    ///
    /// # Errors
    /// As of any call to the store. If the answer was lost, the key may be held: ask again.
    pub async fn hold(&self, key: &str, value: &[u8]) -> Result<Result<Held, Entry>, StoreError> {
        let in_etcd = self.store.layout.in_etcd(key);
        // Made twice, it finds the key held by its own lease.
        let answer = self.store.connection.ask(|client| {
            let put = TxnOp::put(in_etcd.clone(), value, Some(PutOptions::new().with_lease(self.lease)));
            let absent = etcd_client::Compare::create_revision(in_etcd.clone(), CompareOp::Equal, 0);
            let read = TxnOp::get(in_etcd.clone(), None);
            let txn = etcd_client::Txn::new().when(vec![absent]).and_then(vec![put]).or_else(vec![read]);
            async move { client.kv_client().txn(txn).await }
        });
        let answer = answer.await.map_err(|trouble| self.store.failed(trouble))?;
        let held = |create_revision| Held { key: key.to_owned(), create_revision };
        if answer.succeeded() {
            let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
            return Ok(Ok(held(revision_from(revision))));
        }
        let found = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().cloned(),
            _ => None,
        });
        let Some(found) = found else {
            let why = "it said that a key is held and did not show it".to_owned();
            return Err(StoreError::Unavailable { place: self.store.connection.place.clone(), why });
        };
        // Of an earlier attempt whose answer was lost.
        if found.lease() == self.lease {
            return Ok(Ok(held(revision_from(found.create_revision()))));
        }
        entry(&self.store.layout, key, &found).map(Err).ok_or_else(|| {
            StoreError::Invalid(format!("the key {key} in {} is not gapless's", self.store.connection.place))
        })
    }

    /// Gives the lease back: what is held by it vanishes at once. What cannot be given back vanishes by itself.
    pub async fn end(self) {
        self.keeper.abort();
        let mut leases = self.store.connection.client.lease_client();
        let _ = timeout(Duration::from_secs(1), leases.revoke(self.lease)).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Keeps the lease alive until etcd says that it is gone. A member that does not answer is not waited for: another one
/// is asked beside it, since a client learns only after seconds that a member is gone that says nothing any more.
async fn keep_alive(leases: LeaseClient, id: i64, ttl: Duration, valid_until: Arc<watch::Sender<Instant>>) {
    let every = ttl / 3;
    loop {
        let mut asked = FuturesUnordered::new();
        let begun = Instant::now();
        loop {
            if asked.len() < ASKED_MAX {
                asked.push(timeout(ttl, ask_once(leases.clone(), id)));
            }
            match timeout(ASK_ANOTHER_AFTER, asked.next()).await {
                Ok(Some(Ok(Ok(Kept::Since(asked_at))))) => {
                    let now = Instant::now();
                    // What was lost stays lost: whoever waits for that must not miss it.
                    let is_extended = valid_until.send_if_modified(|until| {
                        let is_valid = now < *until;
                        *until = if is_valid { asked_at + ttl } else { *until };
                        is_valid
                    });
                    if !is_extended {
                        return;
                    }
                    break;
                }
                Ok(Some(Ok(Ok(Kept::Gone)))) => {
                    let _ = valid_until.send_replace(Instant::now());
                    return;
                }
                Ok(Some(Ok(Err(error)))) => {
                    tracing::debug!(error = ?Trouble::from(error), "the lease was not kept alive");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
    }
}

/// What became of a lease.
enum Kept {
    /// It lasts for its whole time to live from then on.
    Since(Instant),
    /// It has run out.
    Gone,
}

/// Asks one member, whichever comes, to keep the lease alive.
async fn ask_once(mut leases: LeaseClient, id: i64) -> Result<Kept, etcd_client::Error> {
    let asked_at = Instant::now();
    // The client asks, and waits for the answer, before it returns what one could ask on with.
    match leases.keep_alive(id).await {
        Ok(_) => Ok(Kept::Since(asked_at)),
        // That is how it says that etcd's answer had no time to live.
        Err(etcd_client::Error::LeaseKeepAliveError(why)) if why == "lease not found" => Ok(Kept::Gone),
        Err(error) => Err(error),
    }
}

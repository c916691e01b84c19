//! A lease, and the keys that it owns: etcd removes them when the lease ends. A fenced store compares in every
//! transaction that the key still exists.

use super::error::EtcdError;
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

/// The pause before the lease is kept alive again after an error.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long to wait for a member before another member is asked in parallel.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(250);
/// How many requests run at once.
const ASKED_MAX: usize = 12;

/// A lease that is kept alive until it is dropped, or until etcd has not answered for the lease's time to live.
pub struct Session {
    lease: i64,
    store: EtcdStore,
    valid_until: Arc<watch::Sender<Instant>>,
    renewal: JoinHandle<()>,
}

/// A key that a session owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedKey {
    /// The key.
    pub key: String,
    /// The revision at which the key was created; it distinguishes this key from a later key of the same name.
    pub create_revision: u64,
}

impl Session {
    /// Requests a lease of `ttl`, which etcd raises to at least 2 s, and keeps it alive.
    ///
    /// # Errors
    /// As for any call to the store.
    pub async fn start(store: &EtcdStore, ttl: Duration) -> Result<Session, StoreError> {
        let store = EtcdStore { fence: None, ..store.clone() };
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let asked_at = Instant::now();
        // If several requests get a lease, the leases that are not kept alive expire.
        let granted =
            store.connection.call_idempotent(|client| async move { client.lease_client().grant(seconds, None).await });
        let granted = granted.await.map_err(|error| store.failed(error))?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or_default());
        let valid_until = Arc::new(watch::Sender::new(asked_at + ttl));
        let renewal =
            tokio::spawn(keep_alive(store.connection.client.lease_client(), granted.id(), ttl, valid_until.clone()));
        Ok(Session { lease: granted.id(), store, valid_until, renewal })
    }

    /// The lease certainly still exists, by this host's clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        Instant::now() < *self.valid_until.borrow()
    }

    /// The same store, fenced by `leased`: a commit applies only while that key exists, and fails with
    /// [`StoreError::Deposed`] otherwise; so does every call once the lease may have expired. Its transactions have
    /// room for one comparison less, since the fence uses one.
    #[must_use]
    pub fn fenced(&self, store: &EtcdStore, leased: &LeasedKey) -> EtcdStore {
        let fence = Fence {
            key: store.layout.in_etcd(&leased.key),
            create_revision: revision_to(leased.create_revision),
            valid_until: self.valid_until.clone(),
        };
        EtcdStore { fence: Some(fence), ..store.clone() }
    }

    /// Waits until the lease may have expired, or a commit was rejected because the key no longer exists.
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

    /// Creates `key` with `value`, owned by this lease; or returns the existing entry if another lease owns the key.
    ///
    /// # Errors
    /// As for any call to the store. If the answer was lost, this lease may own the key: call again.
    pub async fn acquire(&self, key: &str, value: &[u8]) -> Result<Result<LeasedKey, Entry>, StoreError> {
        let in_etcd = self.store.layout.in_etcd(key);
        // A repeated call finds the key owned by its own lease.
        let answer = self.store.connection.call_idempotent(|client| {
            let put = TxnOp::put(in_etcd.clone(), value, Some(PutOptions::new().with_lease(self.lease)));
            let absent = etcd_client::Compare::create_revision(in_etcd.clone(), CompareOp::Equal, 0);
            let read = TxnOp::get(in_etcd.clone(), None);
            let txn = etcd_client::Txn::new().when(vec![absent]).and_then(vec![put]).or_else(vec![read]);
            async move { client.kv_client().txn(txn).await }
        });
        let answer = answer.await.map_err(|error| self.store.failed(error))?;
        let leased = |create_revision| LeasedKey { key: key.to_owned(), create_revision };
        if answer.succeeded() {
            let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
            return Ok(Ok(leased(revision_from(revision))));
        }
        let found = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().cloned(),
            _ => None,
        });
        let Some(found) = found else {
            let why = "etcd reported an existing key without its entry".to_owned();
            return Err(StoreError::Unavailable { place: self.store.connection.place.clone(), why });
        };
        // Created by an earlier attempt whose answer was lost.
        if found.lease() == self.lease {
            return Ok(Ok(leased(revision_from(found.create_revision()))));
        }
        entry(&self.store.layout, key, &found).map(Err).ok_or_else(|| {
            StoreError::Invalid(format!("the key {key} in {} is not gapless's", self.store.connection.place))
        })
    }

    /// Revokes the lease, which removes its keys at once. If that fails, etcd removes them when the lease expires.
    pub async fn end(self) {
        self.renewal.abort();
        let mut leases = self.store.connection.client.lease_client();
        let _ = timeout(Duration::from_secs(1), leases.revoke(self.lease)).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Keeps the lease alive until etcd reports that it is gone. Does not wait for a silent member but asks another in
/// parallel: a client notices only after seconds that a silent member is gone.
async fn keep_alive(leases: LeaseClient, id: i64, ttl: Duration, valid_until: Arc<watch::Sender<Instant>>) {
    let every = ttl / 3;
    loop {
        let mut asked = FuturesUnordered::new();
        let begun = Instant::now();
        loop {
            if asked.len() < ASKED_MAX {
                asked.push(timeout(ttl, keep_alive_once(leases.clone(), id)));
            }
            match timeout(ASK_ANOTHER_AFTER, asked.next()).await {
                Ok(Some(Ok(Ok(LeaseState::ExtendedFrom(asked_at))))) => {
                    let now = Instant::now();
                    // A lost lease stays lost: a task in `lost()` must not miss it.
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
                Ok(Some(Ok(Ok(LeaseState::Expired)))) => {
                    let _ = valid_until.send_replace(Instant::now());
                    return;
                }
                Ok(Some(Ok(Err(error)))) => {
                    tracing::debug!(error = ?EtcdError::from(error), "the lease was not kept alive");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
    }
}

/// The state of a lease after a request to keep it alive.
enum LeaseState {
    /// Extended by its whole time to live from this instant on.
    ExtendedFrom(Instant),
    /// Expired.
    Expired,
}

/// Asks a member to keep the lease alive.
async fn keep_alive_once(mut leases: LeaseClient, id: i64) -> Result<LeaseState, etcd_client::Error> {
    let asked_at = Instant::now();
    // `keep_alive` waits for the first answer before it returns.
    match leases.keep_alive(id).await {
        Ok(_) => Ok(LeaseState::ExtendedFrom(asked_at)),
        // The client's error for an answer without a time to live.
        Err(etcd_client::Error::LeaseKeepAliveError(why)) if why == "lease not found" => Ok(LeaseState::Expired),
        Err(error) => Err(error),
    }
}

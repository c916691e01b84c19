//! The distributed store: etcd v3, shared by several servers and other programs.
//!
//! Every call has a deadline. Reads are linearizable. A commit whose answer was lost is never repeated automatically:
//! the caller reads to find out if it was applied.

mod connection;
mod error;
mod follow;
mod layout;
mod session;

pub use session::{LeasedKey, Session};

use crate::EtcdConfig;
use crate::check::{check_key, check_prefix};
use crate::{Compare, Entry, Op, Outcome, Range, Store, StoreError, TXN_OPS_MAX, Txn, WatchBatch};
use async_trait::async_trait;
use connection::Connection;
use error::EtcdError;
use etcd_client::{CompareOp, GetOptions, KeyValue, TxnOp, TxnOpResponse};
use futures_util::stream::BoxStream;
use layout::{Layout, range_end, range_start};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// Entries in one read. A range may be larger than one answer should be.
const PAGE_ENTRIES_MAX: i64 = 200;
/// How often the read of a range starts over because its revision was compacted meanwhile.
const RANGE_ATTEMPTS: usize = 5;

/// A revision at which no key was ever created.
const NEVER: i64 = i64::MAX;

/// A [`Store`] in etcd. Clones and fenced stores share the connection. A watch ends when the store that it was
/// requested from is dropped.
pub struct EtcdStore {
    connection: Connection,
    layout: Arc<Layout>,
    fence: Option<Fence>,
    /// Dropped with the store, which ends its watches.
    open: watch::Sender<()>,
}

/// The condition for every commit, besides the commit's own comparisons.
#[derive(Debug, Clone)]
struct Fence {
    /// The key in etcd.
    key: Vec<u8>,
    /// The revision at which the key was created.
    create_revision: i64,
    /// The time until which the key certainly exists, by this host's clock.
    valid_until: Arc<watch::Sender<Instant>>,
}

impl EtcdStore {
    /// Connects to etcd and checks that it answers this user.
    ///
    /// # Errors
    /// [`StoreError::Open`] where no retry can succeed (user or password, TLS, invalid endpoints),
    /// [`StoreError::Unavailable`] where a retry may (no answer, connection refused, no leader).
    pub async fn open(config: &EtcdConfig) -> Result<EtcdStore, StoreError> {
        let store = EtcdStore {
            connection: Connection::open(config).await?,
            layout: Arc::new(Layout::new(config.prefix.clone(), config.plain_below.clone())),
            fence: None,
            open: watch::Sender::new(()),
        };
        let first = store.layout.in_etcd("/gapless/");
        let asked = store.connection.call_idempotent(|client| {
            let options = GetOptions::new().with_range(range_end(&first)).with_count_only();
            let first = first.clone();
            async move { client.kv_client().get(first, Some(options)).await }
        });
        asked.await.map_err(|error| error.while_opening(&store.connection.place, config.tls.is_some()))?;
        Ok(store)
    }

    /// The address, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.connection.place
    }

    /// A read-only handle on the same store: every commit fails with [`StoreError::Deposed`].
    #[must_use]
    pub fn read_only(&self) -> EtcdStore {
        let fence = Fence {
            key: self.layout.in_etcd("/gapless/leader"),
            create_revision: NEVER,
            valid_until: Arc::new(watch::Sender::new(far_future())),
        };
        EtcdStore { fence: Some(fence), ..self.clone() }
    }

    /// Makes etcd discard the changes up to and including revision `through`, also those of other programs; the entries
    /// themselves stay. gapless never compacts by itself: etcd's `--auto-compaction-retention` does.
    ///
    /// # Errors
    /// As for any call.
    pub async fn compact(&self, through: u64) -> Result<(), StoreError> {
        let compacted = self.connection.call_idempotent(|client| async move {
            let mut kv = client.kv_client();
            kv.compact(revision_to(through), None).await
        });
        compacted.await.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: EtcdError) -> StoreError {
        error.while_running(&self.connection.place)
    }

    /// All entries below a prefix; `None` if the revision of the read was compacted meanwhile.
    async fn read(&self, prefix: &str) -> Result<Option<Range>, StoreError> {
        let in_etcd = self.layout.in_etcd(prefix);
        let end = range_end(&in_etcd);
        let mut start = range_start(in_etcd);
        let mut revision = 0;
        let mut entries = Vec::new();
        loop {
            let page = self.connection.call_idempotent(|client| {
                let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE_ENTRIES_MAX);
                let options = if revision > 0 { options.with_revision(revision) } else { options };
                let start = start.clone();
                async move {
                    let mut kv = client.kv_client().max_decoding_message_size(connection::ANSWER_BYTES_MAX);
                    kv.get(start, Some(options)).await
                }
            });
            let page = match page.await {
                Ok(page) => page,
                Err(error) if revision > 0 && error.is_compacted() => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            };
            if revision == 0 {
                revision = page.header().map_or(0, etcd_client::ResponseHeader::revision);
            }
            entries.extend(page.kvs().iter().filter_map(|kv| self.entry(prefix, kv)));
            match page.kvs().last() {
                Some(last) if page.more() => start = [last.key(), &[0]].concat(),
                _ => return Ok(Some(Range { revision: revision_from(revision), entries })),
            }
        }
    }

    fn entry(&self, asked: &str, kv: &KeyValue) -> Option<Entry> {
        entry(&self.layout, asked, kv)
    }
}

fn entry(layout: &Layout, asked: &str, kv: &KeyValue) -> Option<Entry> {
    Some(Entry {
        key: layout.in_store(asked, kv.key())?,
        value: kv.value().to_vec(),
        create_revision: revision_from(kv.create_revision()),
        mod_revision: revision_from(kv.mod_revision()),
    })
}

impl Clone for EtcdStore {
    fn clone(&self) -> Self {
        EtcdStore {
            connection: self.connection.clone(),
            layout: self.layout.clone(),
            fence: self.fence.clone(),
            open: watch::Sender::new(()),
        }
    }
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("place", &self.connection.place).field("fence", &self.fence).finish()
    }
}

#[async_trait]
impl Store for EtcdStore {
    /// A server that cannot know that it still leads may not read either: after a pause it would act on the answer as
    /// if no time had passed.
    fn allowed(&self) -> Result<(), StoreError> {
        match &self.fence {
            Some(fence) if Instant::now() >= *fence.valid_until.borrow() => Err(StoreError::Deposed),
            _ => Ok(()),
        }
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        check_prefix(prefix)?;
        self.allowed()?;
        for _ in 0..RANGE_ATTEMPTS {
            if let Some(range) = self.read(prefix).await? {
                return Ok(range);
            }
        }
        let why = "it is compacted faster than the entries can be read; retain more (`--auto-compaction-retention`)";
        Err(StoreError::Unavailable { place: self.connection.place.clone(), why: why.to_owned() })
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        self.allowed()?;
        let in_etcd = self.layout.in_etcd(key);
        let answer = self.connection.call_idempotent(|client| {
            let in_etcd = in_etcd.clone();
            async move { client.kv_client().get(in_etcd, None).await }
        });
        let answer = answer.await.map_err(|error| self.failed(error))?;
        Ok(answer.kvs().first().and_then(|kv| self.entry(key, kv)))
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        txn.check()?;
        self.allowed()?;
        if self.fence.is_some() && txn.compares.len() >= TXN_OPS_MAX {
            let why = format!("the transaction has {TXN_OPS_MAX} comparisons; with the fence it exceeds etcd's limit");
            return Err(StoreError::Invalid(why));
        }
        let txn = self.translated(txn);
        let answer = self.connection.call_once(|client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let answer = answer.await.map_err(|error| self.failed(error))?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
            // For checks of a history: which server made which change.
            tracing::debug!(revision, leadership = self.fence.as_ref().map(|fence| fence.create_revision), "committed");
            return Ok(Outcome::Committed { revision: revision_from(revision) });
        }
        let Some(fence) = &self.fence else { return Ok(Outcome::Conflict) };
        let seen = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().map(KeyValue::create_revision),
            _ => None,
        });
        if seen == Some(fence.create_revision) {
            return Ok(Outcome::Conflict);
        }
        // Notifies the session at once. etcd can revoke a lease that it has just kept alive: a leader of etcd that was
        // paused revokes old leases when it resumes.
        if fence.create_revision != NEVER {
            let _ = fence.valid_until.send_replace(Instant::now());
        }
        Err(StoreError::Deposed)
    }

    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
        check_prefix(prefix)?;
        Ok(follow::follow(self.connection.clone(), self.layout.clone(), prefix.to_owned(), from, self.open.subscribe()))
    }
}

impl EtcdStore {
    /// The transaction in etcd's form, with the fence.
    fn translated(&self, txn: Txn) -> etcd_client::Txn {
        let mut compares: Vec<_> = txn
            .compares
            .into_iter()
            .map(|compare| match compare {
                Compare::ModRevision(key, revision) => {
                    let key = self.layout.in_etcd(&key);
                    etcd_client::Compare::mod_revision(key, CompareOp::Equal, revision_to(revision))
                }
                Compare::Value(key, value) => {
                    etcd_client::Compare::value(self.layout.in_etcd(&key), CompareOp::Equal, value)
                }
            })
            .collect();
        let ops: Vec<_> = txn
            .ops
            .into_iter()
            .map(|op| match op {
                Op::Put(key, value) => TxnOp::put(self.layout.in_etcd(&key), value, None),
                Op::Delete(key) => TxnOp::delete(self.layout.in_etcd(&key), None),
            })
            .collect();
        let Some(fence) = &self.fence else { return etcd_client::Txn::new().when(compares).and_then(ops) };
        compares.push(etcd_client::Compare::create_revision(
            fence.key.clone(),
            CompareOp::Equal,
            fence.create_revision,
        ));
        let or_else = vec![TxnOp::get(fence.key.clone(), None)];
        etcd_client::Txn::new().when(compares).and_then(ops).or_else(or_else)
    }
}

/// An instant after the end of any server's run.
fn far_future() -> Instant {
    Instant::now() + std::time::Duration::from_secs(100 * 365 * 24 * 3600)
}

/// Converts a revision to etcd's signed numbers, of which etcd uses the positive ones.
fn revision_to(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn revision_from(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

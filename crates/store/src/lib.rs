//! The Store: gapless's records, with the semantics of etcd: a revision for every change, transactions that compare the
//! revisions that they read, ranges by prefix, and watches from a revision.
//!
//! **Architecture Invariant:** this crate knows keys and bytes and nothing of applications or deployments. Nothing is
//! ever locked: a change is a transaction that compares what its author read.

mod check;
pub mod conformance;
#[cfg(feature = "etcd")]
mod etcd;
mod etcd_config;
pub mod export;
mod folder;
mod limits;
mod memory;
mod sqlite;
mod txn;
mod watch;

pub use check::{KEY_BYTES_MAX, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
#[cfg(feature = "etcd")]
pub use etcd::{EtcdStore, LeasedKey, Session};
pub use etcd_config::{EtcdConfig, EtcdTls};
pub use folder::make_folder;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use txn::{Compare, Entry, Op, Outcome, Range, StoreError, Txn, WatchBatch, WatchEvent};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// A store with the semantics of etcd v3. Any implementation must pass `conformance::all`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Permission to act on what was read from this store. A server that was paused so long that another may lead has
    /// none. Answers at once, without I/O. There is no default implementation: a wrapper that forgot to delegate would
    /// let a deposed server act.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] if this server may not act.
    fn allowed(&self) -> Result<(), StoreError>;

    /// The entries whose keys begin with `prefix`, sorted by key, all of the same revision.
    async fn range(&self, prefix: &str) -> Result<Range, StoreError>;

    /// The entry of this key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Applies all operations of `txn` if all its comparisons hold, else none. Returns when the change is durable. All
    /// operations get the same revision. A transaction that changes nothing (no operations, or deletions of missing
    /// keys) uses none, and the answer has the store's current revision.
    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError>;

    /// The changes to keys that begin with `prefix` from revision `from` on, ordered by revision: one batch per
    /// revision, its changes in the order of the transaction. [`Range::revision`]` + 1` continues after a read of the
    /// range; 0 starts with the first change ever made.
    ///
    /// An error is the last item: [`StoreError::Compacted`] where `from` is no longer retained, or where the reader is
    /// so slow that its next revision is not; [`StoreError::Unavailable`] where the store cannot be read. The stream
    /// ends when the store is closed. A watch is a hint: a reader that must not miss anything reads the range again
    /// from time to time.
    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError>;
}

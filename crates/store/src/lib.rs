//! The Store: what gapless knows, with the semantics of etcd: a revision for every change, transactions that compare
//! the revision they read, ranges by prefix, and watches from a revision.
//!
//! **Architecture Invariant:** this crate knows keys and bytes and nothing of applications or deployments. Nothing is
//! ever locked: a change is a transaction that compares what its author read.

mod check;
pub mod conformance;
mod etcd;
pub mod export;
mod folder;
mod limits;
mod memory;
mod sqlite;
mod txn;
mod watch;

pub use check::{KEY_BYTES_MAX, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
pub use etcd::{EtcdConfig, EtcdStore, EtcdTls, Held, Session};
pub use folder::make_folder;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use txn::{Compare, Entry, Op, Outcome, Range, StoreError, Txn, WatchBatch, WatchEvent};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// A store with the semantics of etcd v3. Any implementation must pass `conformance::all`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether who has this store may act on what was read from it: not a server that was paused for so long that another
    /// one may lead by now. Answered at once, without asking anybody. Every store says it: one that wraps another and
    /// forgot to ask that would let a deposed server act.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] if not.
    fn allowed(&self) -> Result<(), StoreError>;

    /// The entries whose keys begin with `prefix`, sorted by key, all of one revision.
    async fn range(&self, prefix: &str) -> Result<Range, StoreError>;

    /// The entry of exactly that key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Does all operations of `txn` if all its comparisons hold, else nothing. The answer comes when the change is
    /// durable. One revision is used for all of its operations; none where they change nothing, because there are
    /// none or they delete what is not there: then the answer has the revision that the store is at.
    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError>;

    /// The changes to keys that begin with `prefix`, from those of revision `from` on, in the order of their
    /// revisions, one batch a revision, in it in the order of the transaction. With [`Range::revision`]` + 1` it goes
    /// on where a reading of the range ended; with 0 it begins with the first change that there ever was.
    ///
    /// An error is the last that comes: [`StoreError::Compacted`] where `from` is no longer kept, or where the reader
    /// is so slow that what it has to read next is not; [`StoreError::Unavailable`] where the store cannot be read.
    /// The stream ends when the store is closed. A watch is a hint: who must not miss anything reads the
    /// range again from time to time.
    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError>;
}

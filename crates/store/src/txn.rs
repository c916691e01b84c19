//! Entries, transactions and their outcomes.

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, such as `/gapless/apps/shop/production`.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision at which the key was last created.
    pub create_revision: u64,
    /// The revision at which the key was last changed.
    pub mod_revision: u64,
}

/// The entries under a prefix, and the store's revision at the time of the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The store's revision at the time of the read.
    pub revision: u64,
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last changed at that revision; 0: the key does not exist.
    ModRevision(String, u64),
    /// The key has that value.
    Value(String, Vec<u8>),
}

/// An operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets the key to the value.
    Put(String, Vec<u8>),
    /// Removes the key, if it exists.
    Delete(String),
}

/// Operations that are applied together if all comparisons hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions, all of which must hold.
    pub compares: Vec<Compare>,
    /// The operations. A key may occur only once.
    pub ops: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions and operations.
    #[must_use]
    pub fn new() -> Self {
        Txn::default()
    }

    /// Adds: `key` must have been changed last at `revision` (0: must not exist).
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, revision: u64) -> Self {
        self.compares.push(Compare::ModRevision(key.into(), revision));
        self
    }

    /// Adds: `key` must have that value.
    #[must_use]
    pub fn expect_value(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.compares.push(Compare::Value(key.into(), value.into()));
        self
    }

    /// Adds: set `key` to `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put(key.into(), value.into()));
        self
    }

    /// Adds: remove `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }
}

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The transaction is applied and durable.
    Committed {
        /// The revision of the change.
        revision: u64,
    },
    /// A comparison did not hold, and nothing was changed. Read again and decide again.
    Conflict,
}

/// All changes of one revision under the watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: u64,
    /// The changes, in the order of the transaction.
    pub events: Vec<WatchEvent>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// The key was set.
    Put(Entry),
    /// The key was removed.
    Delete {
        /// The key.
        key: String,
    },
}

impl WatchEvent {
    /// The key that was changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            WatchEvent::Put(entry) => &entry.key,
            WatchEvent::Delete { key } => key,
        }
    }
}

/// An error of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be opened: damaged, of a newer gapless, or not permitted.
    #[error("the state in {place} cannot be opened: {why}")]
    Open {
        /// The file or endpoint.
        place: String,
        /// The cause and the remedy.
        why: String,
    },
    /// The store cannot be read or written at the moment: disk full, input/output error, or no answer. Nothing was
    /// acknowledged; the change may still have been applied, which a new read shows.
    #[error("the state in {place} is unavailable: {why}")]
    Unavailable {
        /// The file or endpoint.
        place: String,
        /// The cause and the remedy.
        why: String,
    },
    /// A watch asked for changes that are no longer retained. Read the range and watch from its revision.
    #[error("changes from revision {from} on are no longer retained; the oldest is {oldest}")]
    Compacted {
        /// The requested revision.
        from: u64,
        /// The oldest revision available.
        oldest: u64,
    },
    /// The key that fences the transaction is gone or owned by another server: this server no longer leads.
    #[error("this server no longer leads, so it changes nothing; another server has taken over")]
    Deposed,
    /// The store accepts no such key or transaction.
    #[error("{0}")]
    Invalid(String),
}

//! Entries, transactions and what comes of them.

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, such as `/gapless/apps/shop/production`.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision at which the key was last created.
    pub create_revision: u64,
    /// The revision at which it was last changed.
    pub mod_revision: u64,
}

/// The entries under a prefix, and the store's revision when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The store's revision of the reading.
    pub revision: u64,
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
}

/// What must hold for a transaction to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last changed at that revision; 0 means that it does not exist.
    ModRevision(String, u64),
    /// The key has that value.
    Value(String, Vec<u8>),
}

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets the key to the value.
    Put(String, Vec<u8>),
    /// Removes the key; nothing where there is none.
    Delete(String),
}

/// Operations that are done together if all comparisons hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is then done. A key may stand in it only once.
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

/// What came of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done and is durable; this is its revision.
    Committed {
        /// The revision of the change.
        revision: u64,
    },
    /// A comparison did not hold, and nothing was done. Read again and decide again.
    Conflict,
}

/// All changes of one revision under the watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: u64,
    /// Its changes.
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

/// Why the store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be opened: damaged, of a newer gapless, or not permitted; with what to do.
    #[error("the state in {place} cannot be opened: {why}")]
    Open {
        /// The file or endpoint.
        place: String,
        /// Why, and what to do.
        why: String,
    },
    /// It cannot be read or written just now: disk full, input/output error, or no answer. Nothing was acknowledged;
    /// whether the change was done is found out by reading again.
    #[error("the state in {place} is unavailable: {why}")]
    Unavailable {
        /// The file or endpoint.
        place: String,
        /// Why, and what to do.
        why: String,
    },
    /// A watch asked for changes that are no longer kept. Read the range and watch from there.
    #[error("changes from revision {from} on are no longer kept; the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        from: u64,
        /// The oldest that can be had.
        oldest: u64,
    },
    /// What the transaction was fenced by is held by another now, or by nobody: this server does not lead any more.
    #[error("this server does not lead any more, so it changes nothing; another one goes on")]
    Deposed,
    /// The key or the transaction is not one that a store takes.
    #[error("{0}")]
    Invalid(String),
}

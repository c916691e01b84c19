//! A store in memory with the semantics of the durable stores, for the simulator and for tests. It is deterministic: no
//! threads, no randomness, no time.

use crate::check::{check_key, check_prefix};
use crate::limits;
use crate::watch::{Page, follow};
use crate::{Compare, Entry, Op, Outcome, Range, Store, StoreError, Txn, WatchBatch, WatchEvent};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A [`Store`] in memory. A clone is another handle on the same state, so a server that the simulator kills finds its
/// records after its restart.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    /// The newest revision that the history no longer has.
    compacted: u64,
    entries: BTreeMap<String, Entry>,
    history: VecDeque<WatchBatch>,
    history_bytes: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Discards the changes up to and including revision `through`; the entries themselves stay.
    pub fn compact(&self, through: u64) {
        self.shared.state().compact(through);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code here can panic between two related changes, so a poisoned state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_satisfied(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision(key, revision) => {
                self.entries.get(key).map_or(0, |entry| entry.mod_revision) == *revision
            }
            Compare::Value(key, value) => self.entries.get(key).is_some_and(|entry| entry.value == *value),
        }
    }

    fn commit(&mut self, txn: Txn) -> Outcome {
        if !txn.compares.iter().all(|compare| self.is_satisfied(compare)) {
            return Outcome::Conflict;
        }
        let revision = self.revision + 1;
        let events: Vec<WatchEvent> = txn.ops.into_iter().filter_map(|op| self.apply(op, revision)).collect();
        if events.is_empty() {
            return Outcome::Committed { revision: self.revision };
        }
        self.revision = revision;
        let batch = WatchBatch { revision, events };
        self.history_bytes += value_bytes(&batch);
        self.history.push_back(batch);
        while self.history_bytes > limits::HISTORY_BYTES_MAX
            || self.revision - self.compacted > limits::HISTORY_REVISIONS_MAX
        {
            self.compact(self.compacted + 1);
        }
        Outcome::Committed { revision }
    }

    fn apply(&mut self, op: Op, revision: u64) -> Option<WatchEvent> {
        match op {
            Op::Put(key, value) => {
                let create_revision = self.entries.get(&key).map_or(revision, |old| old.create_revision);
                let entry = Entry { key: key.clone(), value, create_revision, mod_revision: revision };
                self.entries.insert(key, entry.clone());
                Some(WatchEvent::Put(entry))
            }
            Op::Delete(key) => self.entries.remove(&key).map(|_| WatchEvent::Delete { key }),
        }
    }

    fn compact(&mut self, through: u64) {
        self.compacted = self.compacted.max(through.min(self.revision));
        while self.history.front().is_some_and(|batch| batch.revision <= self.compacted) {
            self.history_bytes -= self.history.pop_front().as_ref().map_or(0, value_bytes);
        }
    }

    fn page(&self, prefix: &str, from: u64) -> Result<Page, StoreError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted { from, oldest: self.compacted + 1 });
        }
        // Every revision after the compacted one has its batch, so the index in the history follows from the revision.
        let skip = usize::try_from(from - self.compacted - 1).unwrap_or(usize::MAX);
        let mut next = from;
        let mut batches = Vec::new();
        for batch in self.history.iter().skip(skip).take(limits::PAGE_REVISIONS_MAX) {
            next = batch.revision + 1;
            let events: Vec<WatchEvent> =
                batch.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
            if !events.is_empty() {
                batches.push(WatchBatch { revision: batch.revision, events });
            }
        }
        Ok(Page { batches, next })
    }
}

fn value_bytes(batch: &WatchBatch) -> u64 {
    batch.events.iter().map(|event| if let WatchEvent::Put(entry) = event { entry.value.len() as u64 } else { 0 }).sum()
}

#[async_trait]
impl Store for MemoryStore {
    /// Always allowed: only one server uses this store.
    fn allowed(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        check_prefix(prefix)?;
        let state = self.shared.state();
        let entries = state
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect();
        Ok(Range { revision: state.revision, entries })
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        Ok(self.shared.state().entries.get(key).cloned())
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        txn.check()?;
        let (outcome, revision) = {
            let mut state = self.shared.state();
            (state.commit(txn), state.revision)
        };
        self.shared.revision.send_if_modified(|known| {
            let is_new = *known < revision;
            *known = revision.max(*known);
            is_new
        });
        Ok(outcome)
    }

    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        let shared = Arc::downgrade(&self.shared);
        Ok(follow(from, self.shared.revision.subscribe(), move |next| {
            std::future::ready(shared.upgrade().map(|shared| shared.state().page(&prefix, next)).transpose())
        }))
    }
}

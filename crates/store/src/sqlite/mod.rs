//! The embedded store: one SQLite file, used by one server at a time, its write-ahead log synced before a commit is
//! acknowledged.

mod backup;
mod checksum;
mod error;
mod lock;
mod open;
mod path;
mod records;
mod schema;
mod worker;

use crate::check::{check_key, check_prefix};
use crate::watch::follow;
use crate::{Entry, Outcome, Range, Store, StoreError, Txn, WatchBatch};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;
use worker::{Queue, Worker};

/// A [`Store`] in a SQLite file. Dropping it waits for a write in progress; then the file is free for another store.
///
/// Its requests must run on a tokio runtime with time enabled, because each has a deadline.
pub struct SqliteStore {
    path: PathBuf,
    queue: Queue,
    revisions: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens or creates the state file `path`, readable by its owner alone. Reads the whole file once to verify it.
    /// Blocks meanwhile, and up to a second for an earlier server that is ending.
    ///
    /// # Errors
    /// [`StoreError::Open`] if another server uses the file, or if it is damaged, truncated, of a newer gapless, not a
    /// state file, or not readable and writable. The file is left unchanged.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        open::make_folder(path)?;
        let lock = lock::acquire(path)?;
        let records = open::open(path)?;
        let place: Arc<str> = path.display().to_string().into();
        let (queue, revisions, thread) = worker::start(records, Arc::clone(&place), lock).map_err(|error| {
            StoreError::Open { place: place.to_string(), why: format!("its thread cannot be started: {error}") }
        })?;
        Ok(SqliteStore { path: path.to_owned(), queue, revisions, thread: Some(thread) })
    }

    /// Writes a copy of the state, all of one revision, to the file `to`, while the store stays in use. Replaces an
    /// earlier file of that name once the copy is complete and synced.
    ///
    /// To restore a backup: stop the server, move the state file and its `-wal` away, copy the backup to its place. The
    /// error for a damaged state file names the newest backup whose name is that of the state file plus `.backup…`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the copy cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let (from, to) = (self.path.clone(), to.to_owned());
        let place = self.path.display().to_string();
        tokio::task::spawn_blocking(move || backup::write(&from, &to))
            .await
            .map_err(|error| StoreError::Unavailable { place, why: format!("the backup was interrupted: {error}") })?
    }

    /// Discards the changes up to and including revision `through`, so that no watch can start before; the entries
    /// themselves stay. The store compacts by itself when its history grows too long.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file cannot be written.
    pub async fn compact(&self, through: u64) -> Result<(), StoreError> {
        self.run(move |worker| {
            let place = worker.place().to_owned();
            worker.records.compact(through).map_err(|error| error.while_running(&place))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue.run(work).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic; and if it did, there is nothing left to do here.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    /// Always allowed: only one server uses this store.
    fn allowed(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.run(move |worker| worker.records.range(&prefix).map_err(|error| error.while_running(worker.place()))).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        let key = key.to_owned();
        self.run(move |worker| worker.records.get(&key).map_err(|error| error.while_running(worker.place()))).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        txn.check()?;
        self.run(move |worker| worker.commit(&txn)).await
    }

    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
        check_prefix(prefix)?;
        let (prefix, queue) = (prefix.to_owned(), self.queue.clone());
        Ok(follow(from, self.revisions.clone(), move |next| {
            let (prefix, queue) = (prefix.clone(), queue.clone());
            async move {
                queue
                    .run(move |worker| {
                        worker.records.page(&prefix, next).map_err(|error| error.while_running(worker.place()))
                    })
                    .await
                    .map(Some)
            }
        }))
    }
}

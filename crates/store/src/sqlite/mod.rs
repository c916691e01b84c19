//! The embedded store: one SQLite file, used by one server at a time, its write-ahead log synced before a commit is
//! acknowledged.

mod backup;
mod checksum;
mod lock;
mod open;
mod records;
mod schema;
mod trouble;
mod worker;

use crate::check::{check_key, check_prefix};
use crate::watch::follow;
use crate::{Entry, Outcome, Range, Store, StoreError, Txn, WatchBatch};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;
use worker::{Queue, Worker};

/// A [`Store`] in a SQLite file. Dropping it waits for the change that is being written, if one is; then the file is
/// free for another.
///
/// Its requests must be awaited on a tokio runtime that has time enabled, because each has a deadline.
pub struct SqliteStore {
    path: PathBuf,
    queue: Queue,
    revisions: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the state file `path`, or makes it, readable by its owner alone, where there is none. Reads all of it
    /// once, to be sure that it is whole. Blocks for as long, and up to a second for an earlier server that is ending.
    ///
    /// # Errors
    /// [`StoreError::Open`], with what to do: another server uses it, it is damaged, truncated, of a newer gapless, not
    /// a state file at all, or cannot be read or written. The file is left as it was.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        open::make_folder(path)?;
        let lock = lock::take(path)?;
        let records = open::open(path)?;
        let place: Arc<str> = path.display().to_string().into();
        let (queue, revisions, thread) = worker::start(records, Arc::clone(&place), lock).map_err(|error| {
            StoreError::Open { place: place.to_string(), why: format!("no thread for it: {error}") }
        })?;
        Ok(SqliteStore { path: path.to_owned(), queue, revisions, thread: Some(thread) })
    }

    /// Writes a copy of the state, all of one revision, to the file `to`; the store is used on meanwhile. An earlier
    /// file of that name is replaced when the new one is whole and on the disk.
    ///
    /// To restore it: stop the server, move the state file and its `-wal` away, copy the backup to its place. A backup
    /// whose name is that of the state file followed by `.backup` and anything is named in the error of a damaged one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the copy cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let (from, to) = (self.path.clone(), to.to_owned());
        let place = self.path.display().to_string();
        tokio::task::spawn_blocking(move || backup::write(&from, &to))
            .await
            .map_err(|error| StoreError::Unavailable { place, why: format!("the backup was broken off: {error}") })?
    }

    /// Forgets the changes up to and including revision `through`, so that no watch can begin before; the entries
    /// themselves stay. The store does this by itself when its history grows too long.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the file cannot be written.
    pub async fn compact(&self, through: u64) -> Result<(), StoreError> {
        self.ask(move |worker| {
            let place = worker.place().to_owned();
            worker.records.compact(through).map_err(|trouble| trouble.while_running(&place))
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue.ask(work).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, there is nothing left to do about it here.
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
    /// It is one server's own.
    fn allowed(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.ask(move |worker| worker.records.range(&prefix).map_err(|trouble| trouble.while_running(worker.place())))
            .await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        let key = key.to_owned();
        self.ask(move |worker| worker.records.get(&key).map_err(|trouble| trouble.while_running(worker.place()))).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        txn.check()?;
        self.ask(move |worker| worker.commit(&txn)).await
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
                    .ask(move |worker| {
                        worker.records.page(&prefix, next).map_err(|trouble| trouble.while_running(worker.place()))
                    })
                    .await
                    .map(Some)
            }
        }))
    }
}

/// The path whose name is that of `path` with `ending` after it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The folder that `path` is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

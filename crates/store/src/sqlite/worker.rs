//! The thread that owns the connection: it does one job after the other, and keeps the file small when it is idle.

use super::open::checkpoint_in_passing;
use super::records::Records;
use crate::{Outcome, StoreError, Txn};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// Jobs that wait at most; who comes then waits for a place.
const QUEUE_LENGTH: usize = 256;

/// How long an answer may take, on a disk that hangs, until the caller is told.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long nothing must have come until the file is tidied, so that no commit of a deployment waits for that.
const IDLE_BEFORE_TIDYING: Duration = Duration::from_millis(200);

/// Commits after which tidying is worth it, and those after which it cannot wait for an idle moment.
const COMMITS_BEFORE_TIDYING: u32 = 250;
const COMMITS_AT_MOST: u32 = 4 * COMMITS_BEFORE_TIDYING;

/// Bytes of values after which tidying is worth it, and those after which it cannot wait.
const BYTES_BEFORE_TIDYING: usize = 4 << 20;
const BYTES_AT_MOST: usize = 8 * BYTES_BEFORE_TIDYING;

type Work = Box<dyn FnOnce(&mut Worker) + Send>;

enum Message {
    /// Something to do, and its place in the queue, which is free again when it is done.
    Job(Work, OwnedSemaphorePermit),
    /// The store is closed.
    Close,
}

/// The callers' end of the queue.
#[derive(Clone)]
pub(super) struct Queue {
    // The channel itself has no bound, so that closing never waits; the places bound it.
    jobs: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    place: Arc<str>,
}

/// What the thread owns.
pub(super) struct Worker {
    pub(super) records: Records,
    place: Arc<str>,
    revision: watch::Sender<u64>,
    untidy_commits: u32,
    untidy_bytes: usize,
}

/// Starts the thread. It ends, and with it the use of the file, when [`Queue::close`] is called.
/// `guard` is held for as long as the thread uses the file.
pub(super) fn start(
    records: Records,
    place: Arc<str>,
    guard: impl Send + 'static,
) -> std::io::Result<(Queue, watch::Receiver<u64>, std::thread::JoinHandle<()>)> {
    let (jobs, inbox) = mpsc::channel();
    let (revision, revisions) = watch::channel(records.revision);
    let queue = Queue { jobs, places: Arc::new(Semaphore::new(QUEUE_LENGTH)), place: Arc::clone(&place) };
    let worker = Worker { records, place, revision, untidy_commits: 0, untidy_bytes: 0 };
    let thread = std::thread::Builder::new().name("gapless-store".to_owned()).spawn(move || {
        worker.run(&inbox);
        drop(guard);
    })?;
    Ok((queue, revisions, thread))
}

impl Queue {
    /// Has the thread do `work`, and waits for what comes of it. Work that was queued is done even if the caller no
    /// longer waits.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.closed())?;
            let work: Work = Box::new(move |worker| {
                // A caller that no longer waits does not want the answer.
                let _ = reply.send(work(worker));
            });
            self.jobs.send(Message::Job(work, place)).map_err(|_| self.closed())?;
            answer.await.map_err(|_| self.closed())?
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(format!(
                "the disk has not answered for {} s; look for it in the kernel's log (`dmesg`)",
                ANSWER_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Lets the thread finish what it is doing and end.
    pub(super) fn close(&self) {
        // If it has ended already, it needs no telling.
        let _ = self.jobs.send(Message::Close);
    }

    fn closed(&self) -> StoreError {
        self.unavailable("it has been closed, because the server is stopping".to_owned())
    }

    fn unavailable(&self, why: String) -> StoreError {
        StoreError::Unavailable { place: self.place.to_string(), why }
    }
}

impl Worker {
    /// Does the transaction, and lets watchers know of it.
    pub(super) fn commit(&mut self, txn: &Txn) -> Result<Outcome, StoreError> {
        let outcome = self.records.commit(txn).map_err(|trouble| trouble.while_running(&self.place))?;
        if self.records.revision > *self.revision.borrow() {
            self.revision.send_replace(self.records.revision);
            self.untidy_commits += 1;
            self.untidy_bytes += txn.value_bytes();
        }
        Ok(outcome)
    }

    /// Where the file is, for errors.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        loop {
            let message = if self.is_worth_tidying() {
                match inbox.recv_timeout(IDLE_BEFORE_TIDYING) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.tidy();
                        continue;
                    }
                    Ok(message) => Ok(message),
                    Err(mpsc::RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
                }
            } else {
                inbox.recv()
            };
            match message {
                Ok(Message::Job(work, place)) => {
                    work(&mut self);
                    drop(place);
                }
                Ok(Message::Close) | Err(mpsc::RecvError) => break,
            }
            if self.untidy_commits >= COMMITS_AT_MOST || self.untidy_bytes >= BYTES_AT_MOST {
                self.tidy();
            }
        }
    }

    fn is_worth_tidying(&self) -> bool {
        self.untidy_commits >= COMMITS_BEFORE_TIDYING || self.untidy_bytes >= BYTES_BEFORE_TIDYING
    }

    /// Drops what the history need not keep, and copies the log into the file.
    fn tidy(&mut self) {
        // Also when it fails, so that a full disk is not tried again and again; the next commits lead here again.
        self.untidy_commits = 0;
        self.untidy_bytes = 0;
        let compacted = self.records.surplus().map_or(Ok(()), |through| self.records.compact(through));
        if let Err(trouble) = compacted.and_then(|()| checkpoint_in_passing(&self.records.connection)) {
            tracing::warn!(place = %self.place, %trouble, "the state file could not be tidied; tried again later");
        }
    }
}

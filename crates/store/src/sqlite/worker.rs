//! The thread that owns the connection: runs one job after the other, and compacts the file when it is idle.

use super::open::checkpoint_passive;
use super::records::Records;
use crate::{Outcome, StoreError, Txn};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// The longest queue of jobs; further callers wait for a place.
const QUEUE_LENGTH: usize = 256;

/// How long a job may take, on a disk that hangs, before its caller gets an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the worker must be idle before it tidies the file, so that no commit of a deployment waits for that.
const IDLE_BEFORE_TIDYING: Duration = Duration::from_millis(200);

/// Commits after which tidying pays, and after which it no longer waits for an idle moment.
const COMMITS_BEFORE_TIDYING: u32 = 250;
const COMMITS_AT_MOST: u32 = 4 * COMMITS_BEFORE_TIDYING;

/// Bytes of values after which tidying pays, and after which it no longer waits for an idle moment.
const BYTES_BEFORE_TIDYING: usize = 4 << 20;
const BYTES_AT_MOST: usize = 8 * BYTES_BEFORE_TIDYING;

type Work = Box<dyn FnOnce(&mut Worker) + Send>;

enum Message {
    /// A job, and its place in the queue, which is freed when the job is done.
    Job(Work, OwnedSemaphorePermit),
    /// The store is closed.
    Close,
}

/// The callers' end of the queue.
#[derive(Clone)]
pub(super) struct Queue {
    // The channel itself is unbounded, so that closing never waits; the places bound it.
    jobs: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    place: Arc<str>,
}

/// The state that the thread owns.
pub(super) struct Worker {
    pub(super) records: Records,
    place: Arc<str>,
    revision: watch::Sender<u64>,
    untidy_commits: u32,
    untidy_bytes: usize,
}

/// Starts the thread. [`Queue::close`] ends it, and with it the use of the file. The thread keeps `guard` for as long
/// as it uses the file.
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
    /// Runs `work` on the thread and returns its result. Queued work is done even if the caller no longer waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let running = async {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.closed())?;
            let work: Work = Box::new(move |worker| {
                // A caller that no longer waits has dropped the receiver.
                let _ = reply.send(work(worker));
            });
            self.jobs.send(Message::Job(work, place)).map_err(|_| self.closed())?;
            answer.await.map_err(|_| self.closed())?
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, running).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(format!(
                "the disk has not answered for {} s; check the kernel's log (`dmesg`)",
                ANSWER_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Ends the thread after its current jobs.
    pub(super) fn close(&self) {
        // An error means that the thread has already ended.
        let _ = self.jobs.send(Message::Close);
    }

    fn closed(&self) -> StoreError {
        self.unavailable("the store is closed, because the server is stopping".to_owned())
    }

    fn unavailable(&self, why: String) -> StoreError {
        StoreError::Unavailable { place: self.place.to_string(), why }
    }
}

impl Worker {
    /// Commits the transaction and notifies the watchers.
    pub(super) fn commit(&mut self, txn: &Txn) -> Result<Outcome, StoreError> {
        let outcome = self.records.commit(txn).map_err(|error| error.while_running(&self.place))?;
        if self.records.revision > *self.revision.borrow() {
            self.revision.send_replace(self.records.revision);
            self.untidy_commits += 1;
            self.untidy_bytes += txn.value_bytes();
        }
        Ok(outcome)
    }

    /// The path of the file, for errors.
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

    /// Compacts the history and copies the log into the file.
    fn tidy(&mut self) {
        // Also on a failure, so that a full disk is not retried at once; the next commits lead here again.
        self.untidy_commits = 0;
        self.untidy_bytes = 0;
        let compacted = self.records.surplus().map_or(Ok(()), |through| self.records.compact(through));
        if let Err(error) = compacted.and_then(|()| checkpoint_passive(&self.records.connection)) {
            tracing::warn!(place = %self.place, %error, "compaction of the state file failed; retrying later");
        }
    }
}

//! Follows the changes in etcd: whole revisions, each exactly once, also across a restart of etcd or a change of
//! member. A gap is reported as an error.

use super::connection::{ANSWER_BYTES_MAX, Connection};
use super::error::EtcdError;
use super::layout::{Layout, range_end, range_start};
use super::{entry, revision_from, revision_to};
use crate::{StoreError, WatchBatch, WatchEvent};
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use futures_util::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long etcd may be unreachable before a watch ends with an error; its caller then reads the whole range again.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// The pause before the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long etcd may take to accept a watch.
const START_DEADLINE: Duration = Duration::from_secs(5);

struct Follower {
    connection: Connection,
    layout: Arc<Layout>,
    prefix: String,
    /// The next revision to read.
    next: u64,
    stream: Option<WatchStream>,
    /// A revision with more events to come: etcd sends large revisions in pieces.
    unfinished: Option<WatchBatch>,
    finished: VecDeque<WatchBatch>,
    away_since: Option<Instant>,
    ended: bool,
    open: watch::Receiver<()>,
}

/// The batches from revision `from` on. Ends when the sender of `open` is dropped, or after an error.
pub(super) fn follow(
    connection: Connection,
    layout: Arc<Layout>,
    prefix: String,
    from: u64,
    open: watch::Receiver<()>,
) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
    let follower = Follower {
        connection,
        layout,
        prefix,
        next: from.max(1),
        stream: None,
        unfinished: None,
        finished: VecDeque::new(),
        away_since: None,
        ended: false,
        open,
    };
    Box::pin(stream::unfold(follower, |mut follower| async move {
        loop {
            if let Some(batch) = follower.finished.pop_front() {
                return Some((Ok(batch), follower));
            }
            if follower.ended {
                return None;
            }
            let mut open = follower.open.clone();
            let stepped = tokio::select! {
                biased;
                _ = open.changed() => return None,
                stepped = follower.step() => stepped,
            };
            if let Err(error) = stepped {
                follower.ended = true;
                return Some((Err(error), follower));
            }
        }
    }))
}

impl Follower {
    /// Reads one answer, or starts the watch if there is none.
    async fn step(&mut self) -> Result<(), StoreError> {
        let Some(stream) = &mut self.stream else { return self.start_watch().await };
        match stream.message().await {
            Ok(Some(answer)) => {
                self.away_since = None;
                self.take(&answer)
            }
            Ok(None) => self.wait_or_fail("etcd ended the watch".to_owned()).await,
            Err(error) => self.broken(EtcdError::from(error)).await,
        }
    }

    async fn start_watch(&mut self) -> Result<(), StoreError> {
        let in_etcd = self.layout.in_etcd(&self.prefix);
        // Starts one revision early, so that etcd reports when that revision is compacted: for a compacted revision
        // itself etcd still sends the puts, but no deletions.
        let start = revision_to(self.next - 1).max(1);
        let options = WatchOptions::new().with_range(range_end(&in_etcd)).with_start_revision(start).with_fragment();
        let mut client = self.connection.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let begun = client.watch(range_start(in_etcd), Some(options));
        match tokio::time::timeout(START_DEADLINE, begun).await {
            Ok(Ok(stream)) => {
                self.stream = Some(stream);
                self.unfinished = None;
                Ok(())
            }
            Ok(Err(error)) => self.broken(EtcdError::from(error)).await,
            Err(_) => self.broken(EtcdError::Deadline(START_DEADLINE)).await,
        }
    }

    async fn broken(&mut self, error: EtcdError) -> Result<(), StoreError> {
        let is_transient = error.is_transient();
        let error = error.while_running(&self.connection.place);
        if is_transient { self.wait_or_fail(error.to_string()).await } else { Err(error) }
    }

    /// Waits before the next attempt, or fails once etcd has been unreachable for too long.
    async fn wait_or_fail(&mut self, why: String) -> Result<(), StoreError> {
        self.stream = None;
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= AWAY_MAX {
            return Err(StoreError::Unavailable { place: self.connection.place.clone(), why });
        }
        tokio::time::sleep(RETRY_AFTER).await;
        Ok(())
    }

    fn take(&mut self, answer: &WatchResponse) -> Result<(), StoreError> {
        if answer.canceled() {
            let compacted = revision_from(answer.compact_revision());
            if compacted > 0 {
                return Err(StoreError::Compacted { from: self.next, oldest: compacted + 1 });
            }
            if answer.cancel_reason().contains("no leader") {
                self.stream = None;
                return Ok(());
            }
            let why = format!("etcd rejected the watch: {}", answer.cancel_reason());
            return Err(StoreError::Unavailable { place: self.connection.place.clone(), why });
        }
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = revision_from(kv.mod_revision());
            if revision < self.next {
                continue;
            }
            if self.unfinished.as_ref().is_some_and(|batch| batch.revision != revision) {
                self.finish();
            }
            let Some(put) = entry(&self.layout, &self.prefix, kv) else { continue };
            let event = match event.event_type() {
                EventType::Put => WatchEvent::Put(put),
                EventType::Delete => WatchEvent::Delete { key: put.key },
            };
            self.unfinished.get_or_insert_with(|| WatchBatch { revision, events: Vec::new() }).events.push(event);
        }
        if !answer.0.fragment {
            self.finish();
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Some(batch) = self.unfinished.take() {
            self.next = batch.revision + 1;
            self.finished.push_back(batch);
        }
    }
}

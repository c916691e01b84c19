//! A store in memory with slow, failed and lost answers, a disk that may be full, and a watch that loses and repeats
//! changes. As the store in etcd, it fences former leaders.

use crate::lease::Fence;
use crate::pause::Pause;
use crate::records::RecordJudge;
use crate::rng::Rng;
use crate::world::World;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use gapless_core::planted;
use gapless_store::{Entry, MemoryStore, Op, Outcome, Range, Store, StoreError, Txn, WatchBatch};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    pub(crate) world: World,
    pub(crate) rng: Rng,
    pub(crate) judge: RecordJudge,
    pub(crate) pause: Pause,
    /// The fence of the server, if it is one of several.
    pub(crate) fence: Option<Fence>,
}

impl FaultyStore {
    async fn maybe_fail(&self, wait_ms: u64) -> Result<(), StoreError> {
        self.rng.wait_up_to(wait_ms).await;
        if self.world.has_faults() && self.rng.once_in(60) { Err(unavailable("simulated")) } else { Ok(()) }
    }

    /// Starts a call, unless the server may have lost the lead.
    async fn enter(&self) -> Result<(), StoreError> {
        self.pause.wait().await;
        self.allowed()
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable { place: "the simulation".to_owned(), why: why.to_owned() }
}

#[async_trait]
impl Store for FaultyStore {
    fn allowed(&self) -> Result<(), StoreError> {
        match &self.fence {
            Some(fence) if !fence.is_valid() && !planted::skips_fence() => Err(StoreError::Deposed),
            _ => Ok(()),
        }
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        self.enter().await?;
        self.maybe_fail(2).await?;
        self.inner.range(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.enter().await?;
        self.maybe_fail(2).await?;
        self.inner.get(key).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        self.enter().await?;
        self.maybe_fail(5).await?;
        if self.world.is_disk_full() {
            return Err(unavailable("no space left on the device"));
        }
        let leads = self.fence.as_ref().is_none_or(Fence::leads);
        if let Some(fence) = self.fence.as_ref().filter(|_| !leads && !planted::skips_fence()) {
            fence.revoke();
            return Err(StoreError::Deposed);
        }
        let ops = txn.ops.clone();
        let outcome = self.inner.commit(txn).await?;
        if let Outcome::Committed { .. } = outcome {
            self.judge.check(&ops, &self.world);
            let puts = ops.iter().any(|op| matches!(op, Op::Put(..)));
            if puts && !leads {
                self.world.lock().violate("a former leader changes the records");
            }
        }
        // Committed, but the answer may be lost.
        self.maybe_fail(2).await?;
        Ok(outcome)
    }

    /// Polls for changes; some batches are lost, some repeated, and sometimes the watch ends.
    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        let ready = VecDeque::new();
        let changes =
            stream::try_unfold((store, prefix, from, ready), |(store, prefix, mut next, mut ready)| async move {
                loop {
                    if let Some(batch) = ready.pop_front() {
                        return Ok(Some((batch, (store, prefix, next, ready))));
                    }
                    tokio::time::sleep(Duration::from_millis(200 + store.rng.below(600))).await;
                    store.pause.wait().await;
                    let has_faults = store.world.has_faults();
                    if has_faults && store.rng.once_in(100) {
                        return Err(unavailable("the watch ended"));
                    }
                    let mut changes = store.inner.watch(&prefix, next).await?;
                    while let Some(Some(batch)) = changes.next().now_or_never() {
                        let batch: WatchBatch = batch?;
                        next = batch.revision + 1;
                        if has_faults && store.rng.once_in(20) {
                            continue;
                        }
                        if has_faults && store.rng.once_in(20) {
                            ready.push_back(batch.clone());
                        }
                        ready.push_back(batch);
                    }
                }
            });
        Ok(changes.boxed())
    }
}

//! A store in memory whose answers are slow, fail, or get lost after the change was made; whose disk may be full; whose
//! watch loses and repeats; and which fences who leads, as the one in etcd does.

use crate::dice::Dice;
use crate::lease::Fence;
use crate::pause::Pause;
use crate::records::RecordJudge;
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
    pub(crate) dice: Dice,
    pub(crate) judge: RecordJudge,
    pub(crate) pause: Pause,
    /// Of a server that is one of several.
    pub(crate) fence: Option<Fence>,
}

impl FaultyStore {
    async fn trouble(&self, wait_ms: u64) -> Result<(), StoreError> {
        self.dice.wait_up_to(wait_ms).await;
        if self.world.has_faults() && self.dice.once_in(60) { Err(unavailable("simulated")) } else { Ok(()) }
    }

    /// A call begins: nothing for whoever cannot know that it still leads.
    async fn begin(&self) -> Result<(), StoreError> {
        self.pause.pass().await;
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
        self.begin().await?;
        self.trouble(2).await?;
        self.inner.range(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.begin().await?;
        self.trouble(2).await?;
        self.inner.get(key).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        self.begin().await?;
        self.trouble(5).await?;
        if self.world.is_disk_full() {
            return Err(unavailable("no space left on the device"));
        }
        let leads = self.fence.as_ref().is_none_or(Fence::leads);
        if let Some(fence) = self.fence.as_ref().filter(|_| !leads && !planted::skips_fence()) {
            fence.is_lost();
            return Err(StoreError::Deposed);
        }
        let ops = txn.ops.clone();
        let outcome = self.inner.commit(txn).await?;
        if let Outcome::Committed { .. } = outcome {
            self.judge.look(&ops, &self.world);
            let puts = ops.iter().any(|op| matches!(op, Op::Put(..)));
            if puts && !leads {
                self.world.lock().violate("a server that does not lead any more changes the records");
            }
        }
        // Done, and not acknowledged.
        self.trouble(2).await?;
        Ok(outcome)
    }

    /// Looks now and then what has changed: some of it is lost, some is told twice, and sometimes it ends.
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
                    tokio::time::sleep(Duration::from_millis(200 + store.dice.below(600))).await;
                    store.pause.pass().await;
                    let has_faults = store.world.has_faults();
                    if has_faults && store.dice.once_in(100) {
                        return Err(unavailable("the watch ended"));
                    }
                    let mut changes = store.inner.watch(&prefix, next).await?;
                    while let Some(Some(batch)) = changes.next().now_or_never() {
                        let batch: WatchBatch = batch?;
                        next = batch.revision + 1;
                        if has_faults && store.dice.once_in(20) {
                            continue;
                        }
                        if has_faults && store.dice.once_in(20) {
                            ready.push_back(batch.clone());
                        }
                        ready.push_back(batch);
                    }
                }
            });
        Ok(changes.boxed())
    }
}

//! A store in memory whose answers are slow, fail, or get lost after the change was made.

use crate::dice::Dice;
use crate::world::World;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gapless_store::MemoryStore;
use gapless_store::{Entry, Outcome, Range, Store, StoreError, Txn, WatchBatch};

#[derive(Clone)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    pub(crate) world: World,
    pub(crate) dice: Dice,
}

impl FaultyStore {
    async fn trouble(&self, wait_ms: u64) -> Result<(), StoreError> {
        self.dice.wait_up_to(wait_ms).await;
        if self.world.has_faults() && self.dice.once_in(60) {
            return Err(StoreError::Unavailable { place: "the simulation".to_owned(), why: "simulated".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        self.trouble(2).await?;
        self.inner.range(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.trouble(2).await?;
        self.inner.get(key).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        self.trouble(5).await?;
        let outcome = self.inner.commit(txn).await?;
        // Done, and not acknowledged.
        self.trouble(2).await?;
        Ok(outcome)
    }

    async fn watch(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
        self.inner.watch(prefix, from).await
    }
}

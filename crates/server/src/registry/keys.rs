//! Keys of the user's own, and the facts that are published for other programs: plain texts, apart from gapless's
//! records. With the embedded store they are in it below `/kv`; in etcd they are the plain keys themselves.

use futures_util::StreamExt;
use gapless_api::{KvPair, KvPairs};
use gapless_store::{Entry, KEY_BYTES_MAX, Outcome, Store, StoreError, Txn};
use std::sync::Arc;
use std::time::Duration;

/// Where they are in the store. `StoreConfig::Etcd` has that as the part of the keys that stands in etcd as it is.
pub(crate) const BELOW: &str = "/kv";

/// Keys of the user's own.
#[derive(Clone)]
pub struct UserKeys {
    pub(crate) store: Arc<dyn Store>,
    /// gapless's own keys, as they would be seen among these.
    pub(crate) reserved: Arc<str>,
}

/// Why a key could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// It is none.
    #[error("{0}")]
    Bad(String),
    /// The store did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UserKeys {
    /// Those of a store whose records stand below `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        UserKeys { store, reserved: format!("{prefix}/gapless").into() }
    }

    /// The pairs whose keys begin with `prefix`, sorted by key, all of one revision.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn list(&self, prefix: &str) -> Result<KvPairs, KvError> {
        check(prefix)?;
        let range = self.store.range(&format!("{BELOW}{prefix}")).await?;
        let pairs = range.entries.into_iter().filter_map(|entry| self.pair(entry)).collect();
        Ok(KvPairs { revision: range.revision, pairs })
    }

    /// The same, as soon as something below `prefix` is newer than revision `after`, or after `within`.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn changed(&self, prefix: &str, after: u64, within: Duration) -> Result<KvPairs, KvError> {
        check(prefix)?;
        let mut changes = self.store.watch(&format!("{BELOW}{prefix}"), after + 1).await?;
        let changed = async {
            // A revision that is yet to come is of another store than the one asked now.
            if self.store.range(&format!("{BELOW}{prefix}")).await?.revision < after {
                return Ok::<_, StoreError>(());
            }
            loop {
                match changes.next().await {
                    Some(Ok(batch)) if batch.events.iter().all(|event| self.is_reserved(event.key())) => {}
                    // Also where what changed is no longer known: something may have.
                    Some(Ok(_) | Err(StoreError::Compacted { .. })) | None => return Ok(()),
                    Some(Err(error)) => return Err(error),
                }
            }
        };
        if let Ok(ended) = tokio::time::timeout(within, changed).await {
            ended?;
        }
        self.list(prefix).await
    }

    /// Sets a key; the revision of the change.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn put(&self, key: &str, value: &str) -> Result<u64, KvError> {
        self.commit(key, |key| Txn::new().put(key, value)).await
    }

    /// Removes a key; the revision of the change, or that of the store where there was none.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn delete(&self, key: &str) -> Result<u64, KvError> {
        self.commit(key, |key| Txn::new().delete(key)).await
    }

    async fn commit(&self, key: &str, change: impl Fn(String) -> Txn) -> Result<u64, KvError> {
        check(key)?;
        if key == "/" || key.ends_with('/') {
            return Err(KvError::Bad(format!("{key:?} is no key: it ends with a slash")));
        }
        let in_store = format!("{BELOW}{key}");
        if self.is_reserved(&in_store) {
            return Err(KvError::Bad(format!("{key} is among gapless's own keys; choose another")));
        }
        match self.store.commit(change(in_store)).await? {
            Outcome::Committed { revision } => Ok(revision),
            Outcome::Conflict => Err(KvError::Bad("nothing was compared and yet it was not so".to_owned())),
        }
    }

    fn pair(&self, entry: Entry) -> Option<KvPair> {
        let key = entry.key.strip_prefix(BELOW).filter(|_| !self.is_reserved(&entry.key))?;
        Some(KvPair { key: key.to_owned(), value: String::from_utf8_lossy(&entry.value).into_owned() })
    }

    /// Whether a key of the store is one of gapless's own.
    pub(crate) fn is_reserved(&self, in_store: &str) -> bool {
        let Some(key) = in_store.strip_prefix(BELOW) else { return false };
        // Also those of another installation, which has no prefix.
        [&*self.reserved, "/gapless"]
            .into_iter()
            .any(|own| key.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// Refuses what no key of these can begin with.
pub(crate) fn check(key: &str) -> Result<(), KvError> {
    if !key.starts_with('/') {
        return Err(KvError::Bad(format!("{key:?} is no key: a key begins with a slash, such as \"/shop/port\"")));
    }
    if key.len() + BELOW.len() > KEY_BYTES_MAX || key.contains('\0') {
        return Err(KvError::Bad(format!("a key has at most {} bytes, and no NUL", KEY_BYTES_MAX - BELOW.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_store::MemoryStore;

    #[tokio::test]
    async fn keys_are_texts_apart_from_the_records() {
        let store = Arc::new(MemoryStore::new());
        let keys = UserKeys::new(store.clone(), "");
        store.commit(Txn::new().put("/gapless/apps/a", "record").put("/kv/gapless/x", "of etcd")).await.unwrap();
        let revision = keys.put("/shop/port", "9001").await.unwrap();
        let all = keys.list("/").await.unwrap();
        assert_eq!((all.revision, all.pairs.len(), all.pairs[0].key.as_str()), (revision, 1, "/shop/port"));
        for bad in ["", "shop", "/shop/", "/", "/gapless/apps/a", "/gapless", "/a\0"] {
            assert!(matches!(keys.put(bad, "x").await, Err(KvError::Bad(_))), "{bad:?}");
        }
        keys.put("/gaplessness", "is no record").await.unwrap();
        keys.delete("/shop/port").await.unwrap();
        assert_eq!(keys.list("/shop").await.unwrap().pairs, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_at_once_and_nothing_at_the_deadline() {
        let store = Arc::new(MemoryStore::new());
        let keys = UserKeys::new(store.clone(), "");
        let first = keys.put("/shop/port", "9001").await.unwrap();
        let minute = Duration::from_secs(60);
        let told = keys.changed("/shop", 0, minute).await.unwrap();
        assert_eq!((told.revision, told.pairs.len()), (first, 1), "what is newer already");
        let begun = tokio::time::Instant::now();
        let (told, ()) = tokio::join!(keys.changed("/shop", first, minute), async {
            keys.put("/other", "x").await.unwrap();
            store.commit(Txn::new().put("/kv/gapless/x", "y")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            keys.delete("/shop/port").await.unwrap();
        });
        assert_eq!(told.unwrap().pairs, []);
        assert!(begun.elapsed() < Duration::from_secs(2));
        let now = keys.changed("/shop", told_revision(&keys).await, minute).await.unwrap();
        assert!(begun.elapsed() > minute && now.pairs.is_empty());
        let begun = tokio::time::Instant::now();
        keys.changed("/shop", 1000, minute).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "of another store");
    }

    async fn told_revision(keys: &UserKeys) -> u64 {
        keys.list("/shop").await.unwrap().revision
    }
}

//! Keys of users, and the facts that are published for other programs: plain texts, apart from gapless's records. The
//! embedded store has them below `/kv`; etcd has them under the plain keys themselves.

use futures_util::StreamExt;
use gapless_api::{KvPair, KvPairs};
use gapless_store::{Entry, KEY_BYTES_MAX, Outcome, Store, StoreError, Txn};
use std::sync::Arc;
use std::time::Duration;

/// The prefix of these keys in the store. In etcd, `EtcdConfig::plain_below` makes them plain keys.
pub(crate) const BELOW: &str = "/kv";

/// The keys of users.
#[derive(Clone)]
pub struct UserKeys {
    pub(crate) store: Arc<dyn Store>,
    /// The prefix of gapless's own keys, as these keys would appear among the keys of users.
    pub(crate) reserved: Arc<str>,
}

/// Why a key could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The key is malformed or reserved.
    #[error("{0}")]
    Bad(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UserKeys {
    /// The keys of users in a store whose records are below `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        UserKeys { store, reserved: format!("{prefix}/gapless").into() }
    }

    /// The pairs whose keys start with `prefix`, sorted by key, all of one revision.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn list(&self, prefix: &str) -> Result<KvPairs, KvError> {
        check(prefix)?;
        let range = self.store.range(&format!("{BELOW}{prefix}")).await?;
        let pairs = range.entries.into_iter().filter_map(|entry| self.pair(entry)).collect();
        Ok(KvPairs { revision: range.revision, pairs })
    }

    /// Like [`UserKeys::list`], but waits until a key below `prefix` has changed after revision `after`, at most
    /// `within`.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn changed(&self, prefix: &str, after: u64, within: Duration) -> Result<KvPairs, KvError> {
        check(prefix)?;
        let mut changes = self.store.watch(&format!("{BELOW}{prefix}"), after + 1).await?;
        let changed = async {
            // A revision that this store has not reached yet belongs to a different store.
            if self.store.range(&format!("{BELOW}{prefix}")).await?.revision < after {
                return Ok::<_, StoreError>(());
            }
            loop {
                match changes.next().await {
                    Some(Ok(batch)) if batch.events.iter().all(|event| self.is_reserved(event.key())) => {}
                    // Compacted: the changes are unknown, and there may have been some.
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

    /// Sets a key; returns the revision of the change.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn put(&self, key: &str, value: &str) -> Result<u64, KvError> {
        self.commit(key, |key| Txn::new().put(key, value)).await
    }

    /// Removes a key; returns the revision of the change, or the store's revision if the key did not exist.
    ///
    /// # Errors
    /// [`KvError`].
    pub async fn delete(&self, key: &str) -> Result<u64, KvError> {
        self.commit(key, |key| Txn::new().delete(key)).await
    }

    async fn commit(&self, key: &str, change: impl Fn(String) -> Txn) -> Result<u64, KvError> {
        check(key)?;
        if key == "/" || key.ends_with('/') {
            return Err(KvError::Bad(format!("{key:?} is not a key: it ends with a slash")));
        }
        let in_store = format!("{BELOW}{key}");
        if self.is_reserved(&in_store) {
            return Err(KvError::Bad(format!("{key} is among gapless's own keys; choose another key")));
        }
        match self.store.commit(change(in_store)).await? {
            Outcome::Committed { revision } => Ok(revision),
            Outcome::Conflict => {
                Err(KvError::Bad("internal error: an unconditional write reported a conflict".to_owned()))
            }
        }
    }

    fn pair(&self, entry: Entry) -> Option<KvPair> {
        let key = entry.key.strip_prefix(BELOW).filter(|_| !self.is_reserved(&entry.key))?;
        Some(KvPair { key: key.to_owned(), value: String::from_utf8_lossy(&entry.value).into_owned() })
    }

    /// True for a key of the store that is one of gapless's own.
    pub(crate) fn is_reserved(&self, in_store: &str) -> bool {
        let Some(key) = in_store.strip_prefix(BELOW) else { return false };
        // Includes the keys of an installation that has no prefix.
        [&*self.reserved, "/gapless"]
            .into_iter()
            .any(|own| key.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// Rejects a text that no key of a user can start with.
pub(crate) fn check(key: &str) -> Result<(), KvError> {
    if !key.starts_with('/') {
        return Err(KvError::Bad(format!("{key:?} is not a key: a key starts with a slash, such as \"/shop/port\"")));
    }
    if key.len() + BELOW.len() > KEY_BYTES_MAX || key.contains('\0') {
        return Err(KvError::Bad(format!("a key has at most {} bytes and no NUL", KEY_BYTES_MAX - BELOW.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_store::MemoryStore;

    #[tokio::test]
    async fn user_keys_are_separate_from_records() {
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
    async fn changed_returns_at_change_or_deadline() {
        let store = Arc::new(MemoryStore::new());
        let keys = UserKeys::new(store.clone(), "");
        let first = keys.put("/shop/port", "9001").await.unwrap();
        let minute = Duration::from_secs(60);
        let seen = keys.changed("/shop", 0, minute).await.unwrap();
        assert_eq!((seen.revision, seen.pairs.len()), (first, 1), "an earlier change is reported at once");
        let started = tokio::time::Instant::now();
        let (seen, ()) = tokio::join!(keys.changed("/shop", first, minute), async {
            keys.put("/other", "x").await.unwrap();
            store.commit(Txn::new().put("/kv/gapless/x", "y")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            keys.delete("/shop/port").await.unwrap();
        });
        assert_eq!(seen.unwrap().pairs, []);
        assert!(started.elapsed() < Duration::from_secs(2));
        let now = keys.changed("/shop", revision(&keys).await, minute).await.unwrap();
        assert!(started.elapsed() > minute && now.pairs.is_empty());
        let started = tokio::time::Instant::now();
        keys.changed("/shop", 1000, minute).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "the revision of another store");
    }

    async fn revision(keys: &UserKeys) -> u64 {
        keys.list("/shop").await.unwrap().revision
    }
}

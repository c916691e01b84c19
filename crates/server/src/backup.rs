//! Exports everything that is recorded in a store to a file, and imports it into another store. Keys that describe the
//! installation (who leads, which facts are published) are not moved.

use crate::config::{ServerConfig, StoreConfig};
use crate::records::{self, IMPORTING};
use crate::registry::keys::{self, BELOW, KvError, UserKeys};
use gapless_store::export::{self, ExportError};
use gapless_store::{Outcome, SqliteStore, Store, StoreError, Txn};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys that describe the installation, not what is deployed: never exported, and never changed by an import.
const INSTALLATION_KEYS: [&str; 5] =
    ["/gapless/leader", "/gapless/servers/", "/gapless/registry/", records::CHECKED, IMPORTING];
/// The maximum number of operations in one transaction of an import, and of bytes of their values.
const OPS_PER_TXN: usize = 100;
const BYTES_PER_TXN: usize = 512 << 10;

/// Why an export or an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read as an export.
    #[error("{} cannot be read as an export: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The reason.
        error: ExportError,
    },
    /// The configuration names etcd, and this build has no support for it.
    #[error("this gapless was built without etcd; build it with its default features")]
    BuiltWithoutEtcd,
    /// The store has records already.
    #[error("the store already has {0} records; `gapless store import --force FILE` replaces all of them")]
    NotEmpty(usize),
    /// A server leads with the store.
    #[error("a server is running with this store; stop all servers of this store, then import again")]
    InUse,
    /// Another program changed the records during the import.
    #[error(
        "another program changed the records during the import; stop that program, and import again with `--force`"
    )]
    Changed,
}

/// The counts of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Entries that were written.
    pub entries: u64,
    /// Keys of users that existed already and were not overwritten.
    pub left: u64,
}

/// Exports through a running server: the lines of all records, and of the keys of users below the prefixes `kv`.
pub(crate) async fn export_keys(
    keys: &UserKeys,
    is_shared: bool,
    kv: &[String],
) -> Result<impl Iterator<Item = Vec<u8>> + Send + use<>, KvError> {
    kv.iter().try_for_each(|prefix| keys::check(prefix))?;
    let prefix = keys.reserved.strip_suffix("/gapless").unwrap_or_default();
    Ok(export(keys.store.as_ref(), prefix, is_shared, kv).await?)
}

/// Exports all records of one revision, and keys of users: all keys of users of an embedded store, or in etcd, where
/// other programs have keys too, only the keys below the prefixes `kv`. Returns the lines.
///
/// # Errors
/// If the store cannot be read.
pub async fn export(
    store: &dyn Store,
    prefix: &str,
    is_shared: bool,
    kv: &[String],
) -> Result<impl Iterator<Item = Vec<u8>> + Send + use<>, StoreError> {
    let records = store.range(records::ALL).await?;
    let published: BTreeSet<String> = records
        .entries
        .iter()
        .filter(|entry| entry.key.starts_with("/gapless/registry/"))
        .flat_map(|entry| crate::registry::owned_keys(&entry.value))
        .collect();
    let is_recorded = |key: &str| !INSTALLATION_KEYS.iter().any(|place| key.starts_with(place));
    let mut entries: Vec<_> = records
        .entries
        .into_iter()
        .filter(|entry| is_recorded(&entry.key))
        .map(|entry| (entry.key, entry.value))
        .collect();
    let everything = ["/".to_owned()];
    let wanted = if is_shared { kv } else { &everything };
    let mut keys = BTreeSet::new();
    let reserved = format!("{BELOW}{prefix}/gapless/");
    for prefix in wanted {
        for entry in store.range(&format!("{BELOW}{prefix}")).await?.entries {
            let key = entry.key.strip_prefix(BELOW).unwrap_or_default();
            if !published.contains(key) && !entry.key.starts_with(&reserved) {
                keys.insert((entry.key, entry.value));
            }
        }
    }
    entries.extend(keys);
    Ok(export::lines(records.revision, entries))
}

/// Opens the configured store. No server may use it.
///
/// # Errors
/// If the store cannot be opened, for example because a server uses it.
pub async fn open(config: &ServerConfig) -> Result<Arc<dyn Store>, BackupError> {
    Ok(match &config.store {
        StoreConfig::Sqlite => Arc::new(SqliteStore::open(&config.state_dir.join("state.db"))?),
        #[cfg(feature = "etcd")]
        StoreConfig::Etcd(etcd) => Arc::new(gapless_store::EtcdStore::open(etcd).await?),
        #[cfg(not(feature = "etcd"))]
        StoreConfig::Etcd(_) => return Err(BackupError::BuiltWithoutEtcd),
    })
}

/// Opens the configured store and exports it.
///
/// # Errors
/// If the store cannot be opened or read.
pub async fn export_of(
    config: &ServerConfig,
    kv: &[String],
) -> Result<impl Iterator<Item = Vec<u8>> + Send + use<>, BackupError> {
    let store = open(config).await?;
    let is_shared = matches!(config.store, StoreConfig::Etcd(_));
    Ok(export(store.as_ref(), config.prefix(), is_shared, kv).await?)
}

/// Reads an export to its end and returns the number of entries.
///
/// # Errors
/// If the file cannot be read, or is incomplete.
pub fn check(file: &Path) -> Result<u64, BackupError> {
    let unreadable = |error: ExportError| BackupError::File { file: file.to_owned(), error };
    let reader = File::open(file).map(BufReader::new).map_err(|error| unreadable(error.into()))?;
    export::read(reader, |_, _| Ok::<_, ExportError>(())).map_err(unreadable)
}

/// Imports `file` into `store`. Reads the whole file before the first change. With `force`, replaces all records, and
/// overwrites keys of users that exist already.
///
/// # Errors
/// [`BackupError`]. After an interrupted import, no server starts with the store until an import has finished.
pub async fn import(store: Arc<dyn Store>, prefix: &str, file: &Path, force: bool) -> Result<Imported, BackupError> {
    let unreadable = |error: ExportError| BackupError::File { file: file.to_owned(), error };
    let open = || File::open(file).map(BufReader::new).map_err(|error| unreadable(error.into()));
    let mut entries = Vec::new();
    export::read(open()?, |key, value| {
        entries.push((key, value));
        Ok::<_, ExportError>(())
    })
    .map_err(unreadable)?;

    if store.get("/gapless/leader").await?.is_some() {
        return Err(BackupError::InUse);
    }
    let existing: Vec<String> = store.range(records::ALL).await?.entries.into_iter().map(|entry| entry.key).collect();
    let old = || existing.iter().filter(|key| !INSTALLATION_KEYS.iter().any(|place| key.starts_with(place)));
    if old().next().is_some() && !force {
        return Err(BackupError::NotEmpty(old().count()));
    }
    committed(store.commit(Txn::new().put(IMPORTING, "an import has started")).await?)?;
    for keys in old().collect::<Vec<_>>().chunks(OPS_PER_TXN) {
        committed(store.commit(keys.iter().fold(Txn::new(), |txn, key| txn.delete(key.as_str()))).await?)?;
    }
    let keys = UserKeys::new(store.clone(), prefix);
    let mut imported = Imported { entries: 0, left: 0 };
    let (mut txn, mut bytes) = (Txn::new(), 0);
    for (key, value) in entries {
        let is_record = key.starts_with(records::ALL);
        if INSTALLATION_KEYS.iter().any(|place| key.starts_with(place)) || keys.is_reserved(&key) {
            continue;
        }
        if !is_record && !force && store.get(&key).await?.is_some() {
            imported.left += 1;
            continue;
        }
        if txn.ops.len() >= OPS_PER_TXN || bytes + value.len() > BYTES_PER_TXN {
            committed(store.commit(std::mem::take(&mut txn)).await?)?;
            bytes = 0;
        }
        bytes += value.len();
        imported.entries += 1;
        txn = if is_record { txn.expect(&key, 0).put(&key, value) } else { txn.put(&key, value) };
    }
    committed(store.commit(txn).await?)?;
    committed(store.commit(Txn::new().delete(IMPORTING)).await?)?;
    Ok(imported)
}

fn committed(outcome: Outcome) -> Result<(), BackupError> {
    match outcome {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Conflict => Err(BackupError::Changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_store::MemoryStore;

    async fn file_of(store: &MemoryStore, folder: &Path) -> PathBuf {
        let file = folder.join("export");
        let text: Vec<u8> = export(store, "", false, &[]).await.unwrap().flatten().collect();
        std::fs::write(&file, text).unwrap();
        file
    }

    async fn keys(store: &MemoryStore) -> Vec<String> {
        store.range("").await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn import_moves_records_and_keeps_keys_of_the_installation() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (MemoryStore::new(), Arc::new(MemoryStore::new()));
        for n in 0..250 {
            from.commit(Txn::new().put(format!("/gapless/deployments/{n:03}"), vec![n as u8; 5000])).await.unwrap();
        }
        from.commit(Txn::new().put("/gapless/apps/a", "a").put("/gapless/leader", "x").put("/gapless/servers/x", "x"))
            .await
            .unwrap();
        let owned = r#"{"keys":["/a/port"]}"#;
        from.commit(
            Txn::new().put("/gapless/registry/a/production", owned).put("/kv/a/port", "1").put("/kv/mine", "m"),
        )
        .await
        .unwrap();
        let file = file_of(&from, folder.path()).await;
        to.commit(Txn::new().put("/kv/other", "o").put("/kv/mine", "theirs")).await.unwrap();
        let imported = import(to.clone(), "", &file, false).await.unwrap();
        assert_eq!(imported, Imported { entries: 251, left: 1 });
        let moved = keys(&to).await;
        assert_eq!(moved.len(), 253);
        assert!(moved.contains(&"/kv/other".to_owned()) && !moved.contains(&"/kv/a/port".to_owned()));
        assert_eq!(to.get("/kv/mine").await.unwrap().unwrap().value, b"theirs");
        assert_eq!(to.get("/gapless/deployments/007").await.unwrap().unwrap().value, vec![7; 5000]);

        let refused = import(to.clone(), "", &file, false).await.unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty(251)), "{refused}");
        to.commit(Txn::new().put("/gapless/apps/later", "gone again")).await.unwrap();
        import(to.clone(), "", &file, true).await.unwrap();
        assert!(to.get("/gapless/apps/later").await.unwrap().is_none());
        assert_eq!(to.get("/kv/mine").await.unwrap().unwrap().value, b"m");
        let refused = import(Arc::new(from), "", &file, true).await.unwrap_err();
        assert!(matches!(refused, BackupError::InUse), "{refused}");
    }

    #[tokio::test]
    async fn import_changes_nothing_when_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (MemoryStore::new(), Arc::new(MemoryStore::new()));
        from.commit(Txn::new().put("/gapless/apps/a", "a")).await.unwrap();
        let file = file_of(&from, folder.path()).await;
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"a\"", "\"b\"")).unwrap();
        let refused = import(to.clone(), "", &file, true).await.unwrap_err().to_string();
        assert!(refused.contains("checksum"), "{refused}");
        let nowhere = import(to.clone(), "", Path::new("/nowhere/export"), true).await.unwrap_err().to_string();
        assert!(nowhere.contains("/nowhere/export"), "{nowhere}");
        assert_eq!(keys(&to).await, [""; 0]);
    }
}

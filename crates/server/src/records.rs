//! The records in the store: the key of each record, and the transactions that change them.

use gapless_core::machine::State;
use gapless_core::planted;
use gapless_core::{AppKey, Application, Deployment, HostPattern, Phase, Release};
use gapless_store::{Entry, Outcome, Store, StoreError, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The prefix of all of gapless's own keys.
pub const ALL: &str = "/gapless/";
/// The prefix of the keys of applications.
pub const APPLICATIONS: &str = "/gapless/apps/";
/// The prefix of the keys of deployments.
pub const DEPLOYMENTS: &str = "/gapless/deployments/";
/// A key that exists while an import fills the store.
pub(crate) const IMPORTING: &str = "/gapless/importing";
/// A key that is written to test that the store accepts writes.
pub(crate) const CHECKED: &str = "/gapless/checked";
const RELEASES: &str = "/gapless/releases/";
/// The number of deployments that are kept for each application and environment.
pub const DEPLOYMENTS_KEPT: u64 = 500;
/// The number of releases that are kept for each application and environment, beside the releases in a slot.
pub const RELEASES_KEPT: u64 = 100;
/// The maximum number of operations in one transaction that removes records: etcd accepts 128.
const OPS_PER_TXN: usize = 100;

/// Why records could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The value of a key is not a record of this version.
    #[error("the record {key} cannot be read: {why}; another version of gapless wrote it, or it is damaged")]
    Unreadable {
        /// The key of the record.
        key: String,
        /// The reason.
        why: String,
    },
    /// A host belongs to another application.
    #[error("the host {host} belongs to {owner}; remove it there first, or choose another host")]
    HostTaken {
        /// The host.
        host: HostPattern,
        /// The owning application.
        owner: String,
    },
    /// The record changed meanwhile: read and decide again.
    #[error("the record changed meanwhile")]
    Conflict,
}

/// A record, and the revision of its last change (0: the record does not exist yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// Its revision.
    pub revision: u64,
}

/// The records that one step of the state machine uses, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The records.
    pub state: State,
    revisions: Revisions,
}

/// The loaded records, each with its revision.
type VersionedRecords = (Option<Versioned<Application>>, Option<Versioned<Deployment>>, Option<Versioned<Release>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Revisions {
    app: u64,
    deployment: u64,
    release: u64,
}

/// Typed access to the store.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
}

impl Records {
    /// The records of that store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Records { store }
    }

    /// Permission to act on what was read. A server that was paused until another may lead has none.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] without the permission.
    pub fn allowed(&self) -> Result<(), RecordError> {
        Ok(self.store.allowed()?)
    }

    /// All applications, and the store's revision when they were read.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is unreadable.
    pub async fn applications(&self) -> Result<(u64, Vec<Application>), RecordError> {
        let range = self.store.range(APPLICATIONS).await?;
        let apps = range.entries.iter().map(decode).collect::<Result<_, _>>()?;
        Ok((range.revision, apps))
    }

    /// Write probe: commits an empty record.
    ///
    /// # Errors
    /// If the store accepts no write.
    pub async fn check(&self) -> Result<u64, RecordError> {
        self.done(Txn::new().put(CHECKED, "")).await
    }

    /// One application.
    ///
    /// # Errors
    /// If the store cannot be read, or the record is unreadable.
    pub async fn application(&self, key: &AppKey) -> Result<Option<Versioned<Application>>, RecordError> {
        self.get(&app_key(key)).await
    }

    /// One deployment.
    ///
    /// # Errors
    /// If the store cannot be read, or the record is unreadable.
    pub async fn deployment(&self, key: &AppKey, number: u64) -> Result<Option<Versioned<Deployment>>, RecordError> {
        self.get(&deployment_key(key, number)).await
    }

    /// One release.
    ///
    /// # Errors
    /// If the store cannot be read, or the record is unreadable.
    pub async fn release(&self, key: &AppKey, number: u64) -> Result<Option<Versioned<Release>>, RecordError> {
        self.get(&release_key(key, number)).await
    }

    /// The deployments of an application, newest first: at most `limit` with a number below `before`.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is unreadable.
    pub async fn deployments(&self, key: &AppKey, before: u64, limit: usize) -> Result<Vec<Deployment>, RecordError> {
        let range = self.store.range(&format!("{DEPLOYMENTS}{key}/")).await?;
        let newest = range.entries.iter().rev().map(decode::<Deployment>);
        let wanted = newest.filter(|deployment| deployment.as_ref().map_or(true, |d| d.number < before));
        wanted.take(limit).collect()
    }

    /// The records that a step of the application's state machine uses; `None` if there is no such application. Records
    /// that have not changed since `before` are taken from there: most do not change from one step to the next, and
    /// decoding would be most of the cost of a step.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is unreadable.
    pub async fn load(&self, key: &AppKey, before: Option<Loaded>) -> Result<Option<Loaded>, RecordError> {
        let (app, deployment, release) = before.map(Loaded::parts).unwrap_or_default();
        let Some(app) = self.get_again(&app_key(key), app).await? else { return Ok(None) };
        let claim = app.record.active.as_ref().or(app.record.queue.first());
        let deployment = match claim.map(|claim| claim.deployment) {
            Some(number) => {
                let before = deployment.filter(|before| before.record.number == number);
                self.get_again(&deployment_key(key, number), before).await?
            }
            None => None,
        };
        let release = match deployment.as_ref().map(|deployment| deployment.record.release) {
            Some(number) => {
                let before = release.filter(|before| before.record.number == number);
                self.get_again(&release_key(key, number), before).await?
            }
            None => None,
        };
        Ok(Some(Loaded::of(app, deployment, release)))
    }

    /// Changes the loaded records to `next`, unless they changed meanwhile; returns the revision of the change. Hosts
    /// that the application no longer uses are released in the same transaction.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] if they changed, [`RecordError::HostTaken`], or an error of the store.
    pub async fn commit(&self, loaded: &Loaded, next: &State) -> Result<u64, RecordError> {
        let key = &next.app.key;
        let mut txn = Txn::new().put(app_key(key), encode(&next.app));
        if !planted::commits_blindly() {
            txn = txn.expect(app_key(key), loaded.revisions.app);
        }
        if let Some(deployment) = &next.deployment
            && loaded.state.deployment.as_ref() != Some(deployment)
        {
            let at = deployment_key(key, deployment.number);
            txn = txn.expect(&at, loaded.revisions.deployment).put(&at, encode(deployment));
        }
        if let Some(release) = &next.release
            && loaded.state.release.as_ref() != Some(release)
        {
            let at = release_key(key, release.number);
            txn = txn.expect(&at, loaded.revisions.release).put(&at, encode(release));
        }
        txn = self.claim_hosts(txn, key, &loaded.state.app.hosts(), &next.app.hosts()).await?;
        self.done(txn).await
    }

    /// Records a new deployment, its release if that is new too, and the changed application. Deployments that it
    /// supersedes end in the same transaction.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub async fn submit(
        &self,
        app: &Versioned<Option<Application>>,
        next: &Application,
        release: Option<&Release>,
        deployments: &[Versioned<Deployment>],
    ) -> Result<u64, RecordError> {
        let key = &next.key;
        let mut txn = Txn::new().expect(app_key(key), app.revision).put(app_key(key), encode(next));
        if let Some(release) = release {
            let at = release_key(key, release.number);
            txn = txn.expect(&at, 0).put(&at, encode(release));
            let old = release.number.saturating_sub(RELEASES_KEPT);
            if old > 0 && next.placements().all(|placement| placement.release != old) {
                txn = txn.delete(release_key(key, old));
            }
        }
        for Versioned { record, revision } in deployments {
            let at = deployment_key(key, record.number);
            txn = txn.expect(&at, *revision).put(&at, encode(record));
            if *revision == 0 && record.number > DEPLOYMENTS_KEPT {
                txn = txn.delete(deployment_key(key, record.number - DEPLOYMENTS_KEPT));
            }
        }
        let owned = app.record.as_ref().map(Application::hosts).unwrap_or_default();
        txn = self.claim_hosts(txn, key, &owned, &next.hosts()).await?;
        self.done(txn).await
    }

    /// Changes a deployment, unless it changed meanwhile.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub async fn put_deployment(&self, deployment: &Versioned<Deployment>) -> Result<u64, RecordError> {
        let at = deployment_key(&deployment.record.key, deployment.record.number);
        self.done(Txn::new().expect(&at, deployment.revision).put(&at, encode(&deployment.record))).await
    }

    /// Removes all records of an application, the application's own last, so that the removal can be repeated.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub async fn forget(&self, loaded: &Loaded) -> Result<u64, RecordError> {
        let key = &loaded.state.app.key;
        for prefix in [format!("{DEPLOYMENTS}{key}/"), format!("{RELEASES}{key}/")] {
            let entries = self.store.range(&prefix).await?.entries;
            for chunk in entries.chunks(OPS_PER_TXN) {
                let txn = chunk.iter().fold(Txn::new(), |txn, entry| txn.delete(&entry.key));
                self.done(txn).await?;
            }
        }
        let txn = Txn::new().expect(app_key(key), loaded.revisions.app).delete(app_key(key));
        let txn = self.claim_hosts(txn, key, &loaded.state.app.hosts(), &BTreeSet::new()).await?;
        self.done(txn).await
    }

    async fn claim_hosts(
        &self,
        mut txn: Txn,
        key: &AppKey,
        before: &BTreeSet<HostPattern>,
        after: &BTreeSet<HostPattern>,
    ) -> Result<Txn, RecordError> {
        let owner = key.to_string();
        for host in after.difference(before) {
            let at = host_key(host);
            match self.store.get(&at).await? {
                Some(entry) if entry.value == owner.as_bytes() => txn = txn.expect(at, entry.mod_revision),
                Some(entry) => {
                    let owner = String::from_utf8_lossy(&entry.value).into_owned();
                    return Err(RecordError::HostTaken { host: host.clone(), owner });
                }
                None => txn = txn.expect(&at, 0).put(at, owner.as_bytes()),
            }
        }
        Ok(before.difference(after).fold(txn, |txn, host| txn.delete(host_key(host))))
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, RecordError> {
        self.get_again(key, None).await
    }

    /// The record of that key; `before` itself if the record has not changed since.
    async fn get_again<T: DeserializeOwned>(
        &self,
        key: &str,
        before: Option<Versioned<T>>,
    ) -> Result<Option<Versioned<T>>, RecordError> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        match before.filter(|before| before.revision == entry.mod_revision) {
            Some(before) => Ok(Some(before)),
            None => Ok(Some(Versioned { record: decode(&entry)?, revision: entry.mod_revision })),
        }
    }

    async fn done(&self, txn: Txn) -> Result<u64, RecordError> {
        match self.store.commit(txn).await? {
            Outcome::Committed { revision } => Ok(revision),
            Outcome::Conflict => Err(RecordError::Conflict),
        }
    }
}

impl Loaded {
    fn of(
        app: Versioned<Application>,
        deployment: Option<Versioned<Deployment>>,
        release: Option<Versioned<Release>>,
    ) -> Self {
        let revisions = Revisions {
            app: app.revision,
            deployment: deployment.as_ref().map_or(0, |deployment| deployment.revision),
            release: release.as_ref().map_or(0, |release| release.revision),
        };
        let (deployment, release) = (deployment.map(|at| at.record), release.map(|at| at.record));
        Loaded { state: State { app: app.record, deployment, release }, revisions }
    }

    /// The records and revisions that this value was made of.
    fn parts(self) -> VersionedRecords {
        let Loaded { state: State { app, deployment, release }, revisions } = self;
        let deployment = deployment.map(|record| Versioned { record, revision: revisions.deployment });
        let release = release.map(|record| Versioned { record, revision: revisions.release });
        (Some(Versioned { record: app, revision: revisions.app }), deployment, release)
    }

    /// The revision of the last change of the application's record.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revisions.app
    }

    /// The number and phase of the active deployment.
    #[must_use]
    pub fn active_phase(&self) -> Option<(u64, &Phase)> {
        let deployment = self.state.deployment.as_ref()?;
        self.state.app.active.as_ref().map(|_| (deployment.number, &deployment.phase))
    }
}

fn app_key(key: &AppKey) -> String {
    format!("{APPLICATIONS}{key}")
}

/// The key of a deployment. Numbers are padded, so that keys sort by number.
#[must_use]
pub fn deployment_key(key: &AppKey, number: u64) -> String {
    format!("{DEPLOYMENTS}{key}/{number:012}")
}

fn release_key(key: &AppKey, number: u64) -> String {
    format!("{RELEASES}{key}/{number:012}")
}

fn host_key(host: &HostPattern) -> String {
    format!("/gapless/hosts/{host}")
}

/// The application that a change of that key concerns: the key of an application or of one of its deployments.
pub(crate) fn concerned(key: &str) -> Option<AppKey> {
    match key.strip_prefix(DEPLOYMENTS) {
        Some(deployment) => deployment.rsplit_once('/')?.0.parse().ok(),
        None => key.strip_prefix(APPLICATIONS)?.parse().ok(),
    }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, RecordError> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| RecordError::Unreadable { key: entry.key.clone(), why: error.to_string() })
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    // A record contains nothing that JSON cannot express: no maps with keys other than strings, no non-finite numbers.
    serde_json::to_vec(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::concerned;

    #[test]
    fn changed_key_names_its_application() {
        let shop = "shop/production".parse().ok();
        assert_eq!(concerned("/gapless/apps/shop/production"), shop);
        assert_eq!(concerned("/gapless/deployments/shop/production/000000000007"), shop);
        for other in ["/gapless/releases/shop/production/000000000007", "/gapless/leader", "/gapless/apps/shop"] {
            assert_eq!(concerned(other), None);
        }
    }
}

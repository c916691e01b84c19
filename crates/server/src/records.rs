//! gapless's records in the store: which key holds what, and the one transaction by which they change.

use gapless_core::machine::State;
use gapless_core::planted;
use gapless_core::{AppKey, Application, Deployment, HostPattern, Phase, Release};
use gapless_store::{Entry, Outcome, Store, StoreError, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What all of gapless's own keys begin with.
pub const ALL: &str = "/gapless/";
/// What the keys of applications begin with.
pub const APPLICATIONS: &str = "/gapless/apps/";
/// What the keys of deployments begin with.
pub const DEPLOYMENTS: &str = "/gapless/deployments/";
/// Exists while an import fills the store.
pub(crate) const IMPORTING: &str = "/gapless/importing";
/// What is written to see whether anything can be.
pub(crate) const CHECKED: &str = "/gapless/checked";
const RELEASES: &str = "/gapless/releases/";
/// How many deployments are remembered per application and environment.
pub const DEPLOYMENTS_KEPT: u64 = 500;
/// How many releases are remembered per application and environment, beside those in a slot.
pub const RELEASES_KEPT: u64 = 100;
/// Operations in one transaction when records are removed: etcd takes 128.
const OPS_PER_TXN: usize = 100;

/// Why records could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The store did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not one of gapless's.
    #[error("the record {key} cannot be read: {why}; it was written by another version of gapless, or damaged")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// A host belongs to another application.
    #[error("the host {host} belongs to {owner}; remove it there first, or choose another host")]
    HostTaken {
        /// The host.
        host: HostPattern,
        /// Whose it is.
        owner: String,
    },
    /// Somebody else changed the record meanwhile: read again and decide again.
    #[error("the record changed meanwhile")]
    Conflict,
}

/// A record, and the revision that it was last changed at (0: it does not exist yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// Its revision.
    pub revision: u64,
}

/// What a step of the state machine goes by, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The records.
    pub state: State,
    revisions: Revisions,
}

/// What was loaded, each with its revision.
type Parts = (Option<Versioned<Application>>, Option<Versioned<Deployment>>, Option<Versioned<Release>>);

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

    /// Whether what was read may still be acted on: not by a server that was paused until another one may lead.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] if not.
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

    /// Whether changes can be recorded: one is, that says nothing.
    ///
    /// # Errors
    /// If none can be.
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

    /// The deployments of an application, the newest first: at most `limit` of those below `before`.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is unreadable.
    pub async fn deployments(&self, key: &AppKey, before: u64, limit: usize) -> Result<Vec<Deployment>, RecordError> {
        let range = self.store.range(&format!("{DEPLOYMENTS}{key}/")).await?;
        let newest = range.entries.iter().rev().map(decode::<Deployment>);
        let wanted = newest.filter(|deployment| deployment.as_ref().map_or(true, |d| d.number < before));
        wanted.take(limit).collect()
    }

    /// What a step of the application's state machine goes by; `None` where there is no such application. Records that are
    /// as they were in what was loaded `before` are taken from there: most have not changed from one step to the next, and
    /// decoding them would be most of what a step costs.
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

    /// Changes what was loaded to `next`, if nobody changed it meanwhile; the revision of the change. Hosts that the
    /// application needs no more are given back in the same transaction.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] if somebody did, [`RecordError::HostTaken`], or the store's own.
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

    /// Records a new deployment, its release if that is new too, and the application as it is with them. Deployments
    /// that it supersedes are ended in the same transaction.
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

    /// Changes a deployment, if nobody did meanwhile.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub async fn put_deployment(&self, deployment: &Versioned<Deployment>) -> Result<u64, RecordError> {
        let at = deployment_key(&deployment.record.key, deployment.record.number);
        self.done(Txn::new().expect(&at, deployment.revision).put(&at, encode(&deployment.record))).await
    }

    /// Removes everything that is recorded of an application, its own record last, so that it can be repeated.
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

    /// The record of that key; the very one that was read `before` if it has not changed since.
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

    /// The records that it was made of.
    fn parts(self) -> Parts {
        let Loaded { state: State { app, deployment, release }, revisions } = self;
        let deployment = deployment.map(|record| Versioned { record, revision: revisions.deployment });
        let release = release.map(|record| Versioned { record, revision: revisions.release });
        (Some(Versioned { record: app, revision: revisions.app }), deployment, release)
    }

    /// The revision that the application's record was last changed at.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revisions.app
    }

    /// The number of the deployment that is under way, and where it is.
    #[must_use]
    pub fn active_phase(&self) -> Option<(u64, &Phase)> {
        let deployment = self.state.deployment.as_ref()?;
        self.state.app.active.as_ref().map(|_| (deployment.number, &deployment.phase))
    }
}

fn app_key(key: &AppKey) -> String {
    format!("{APPLICATIONS}{key}")
}

/// The key of a deployment. Numbers are padded, so that the order of keys is the order of numbers.
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

/// The application whose record, or whose deployment's record, has that key.
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
    // The records hold nothing that JSON cannot: no maps with keys other than strings, no non-finite numbers.
    serde_json::to_vec(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::concerned;

    #[test]
    fn a_key_says_whom_its_change_concerns() {
        let shop = "shop/production".parse().ok();
        assert_eq!(concerned("/gapless/apps/shop/production"), shop);
        assert_eq!(concerned("/gapless/deployments/shop/production/000000000007"), shop);
        for other in ["/gapless/releases/shop/production/000000000007", "/gapless/leader", "/gapless/apps/shop"] {
            assert_eq!(concerned(other), None);
        }
    }
}

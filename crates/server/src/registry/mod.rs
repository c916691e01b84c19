//! The service registry: facts of what is live, published as plain keys for other programs, such as `/shop/port` and
//! `/shop/instance`. The facts are derived from the records again and again, so they converge after any failure.

pub mod keys;

use crate::records::{RecordError, Records};
use gapless_core::application::Desired;
use gapless_core::spec::Service;
use gapless_core::{AppKey, Application, EnvName, ServiceName};
use gapless_store::{Entry, Outcome, Store, StoreError, Txn};
use keys::{BELOW, UserKeys};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};

/// How often all facts are compared, even without a notified change.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The wait before a failed publication is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The prefix of the records of published keys, one for each application and environment.
const OWNED: &str = "/gapless/registry/";

/// The facts that are published, and their keys.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// True if facts are published.
    pub enabled: bool,
    /// The text before the application's name.
    pub prefix: String,
    /// The facts to publish, with the last part of their keys; `None` for all facts under their own names.
    pub keys: Option<BTreeMap<String, String>>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig { enabled: true, prefix: String::new(), keys: None }
    }
}

/// The keys that gapless has published for an application and environment: gapless never changes any other key.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owned {
    keys: BTreeSet<String>,
}

/// The keys that a record of published keys names.
pub(crate) fn owned_keys(record: &[u8]) -> BTreeSet<String> {
    serde_json::from_slice::<Owned>(record).map(|owned| owned.keys).unwrap_or_default()
}

/// Keeps the published facts up to date.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    records: Records,
    config: RegistryConfig,
    /// The keys of users, among which the facts are.
    keys: UserKeys,
    /// The facts that were last seen as published, so that unchanged facts cost no read.
    published: BTreeMap<AppKey, BTreeMap<String, String>>,
    /// Keys that cannot be published and were logged.
    logged: BTreeSet<String>,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, keys: UserKeys, config: RegistryConfig) -> Self {
        let records = Records::new(store.clone());
        Registry { store, records, config, keys, published: BTreeMap::new(), logged: BTreeSet::new() }
    }

    /// Publishes until the server ends. `changes` has the applications whose records changed.
    pub(crate) async fn run(mut self, mut changes: broadcast::Receiver<AppKey>) {
        loop {
            self.published.clear();
            let mut next = REFRESH_EVERY;
            if let Err(error) = self.refresh_all().await {
                tracing::warn!("published facts may be out of date: {error}; retrying");
                next = RETRY_AFTER;
            }
            let refresh_at = tokio::time::Instant::now() + next;
            loop {
                let changed = tokio::select! {
                    changed = changes.recv() => changed,
                    () = tokio::time::sleep_until(refresh_at) => break,
                };
                let refreshed = match changed {
                    Ok(key) => self.refresh(&key).await,
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                };
                if let Err(error) = refreshed {
                    tracing::warn!("published facts may be out of date: {error}; retrying");
                    tokio::time::sleep(RETRY_AFTER).await;
                    break;
                }
            }
        }
    }

    async fn refresh_all(&mut self) -> Result<(), RecordError> {
        let (_, apps) = self.records.applications().await?;
        let known: BTreeSet<AppKey> = apps.iter().map(|app| app.key.clone()).collect();
        for app in &apps {
            self.publish(&app.key, wanted(app, &self.config)).await?;
        }
        let owned = self.store.range(OWNED).await?;
        let gone = owned.entries.iter().filter_map(|entry| parse_key(entry.key.strip_prefix(OWNED)?));
        for key in gone.filter(|key| !known.contains(key)).collect::<Vec<_>>() {
            self.publish(&key, BTreeMap::new()).await?;
        }
        Ok(())
    }

    async fn refresh(&mut self, key: &AppKey) -> Result<(), RecordError> {
        let app = self.records.application(key).await?;
        let wanted = app.map(|app| wanted(&app.record, &self.config)).unwrap_or_default();
        self.publish(key, wanted).await
    }

    /// Changes the published facts of an application to `wanted`, in one transaction.
    async fn publish(&mut self, key: &AppKey, mut wanted: BTreeMap<String, String>) -> Result<(), RecordError> {
        // The facts of an application named gapless would be among the records.
        wanted.retain(|fact, _| {
            let is_free = !self.keys.is_reserved(&format!("{BELOW}{fact}"));
            if !is_free && self.logged.insert(fact.clone()) {
                tracing::warn!(
                    "fact is not published: {fact} is among gapless's own keys; set `prefix` in `[registry]`"
                );
            }
            is_free
        });
        if self.published.get(key) == Some(&wanted) {
            return Ok(());
        }
        while !self.try_to_publish(key, &wanted).await? {}
        self.published.insert(key.clone(), wanted);
        Ok(())
    }

    /// Tries to publish; false if a key changed meanwhile.
    async fn try_to_publish(&mut self, key: &AppKey, wanted: &BTreeMap<String, String>) -> Result<bool, StoreError> {
        let owned_key = format!("{OWNED}{key}");
        let recorded = self.store.get(&owned_key).await?;
        let owned: Owned =
            recorded.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
        let mut now = Owned::default();
        let mut txn = Txn::new();
        let all: BTreeSet<&String> = owned.keys.iter().chain(wanted.keys()).collect();
        for fact in all {
            let in_store = format!("{BELOW}{fact}");
            let there = self.store.get(&in_store).await?;
            let is_ours = owned.keys.contains(fact);
            let revision = there.as_ref().map_or(0, |entry| entry.mod_revision);
            match (wanted.get(fact), &there) {
                (Some(_), Some(_)) if !is_ours => {
                    if self.logged.insert(fact.clone()) {
                        tracing::warn!(
                            application = %key,
                            "fact is not published: {fact} is a key of another program; left unchanged"
                        );
                    }
                }
                (Some(value), _) => {
                    now.keys.insert(fact.clone());
                    if there.as_ref().is_none_or(|entry| entry.value != value.as_bytes()) {
                        txn = txn.expect(&in_store, revision).put(&in_store, value.as_bytes());
                    }
                }
                (None, Some(_)) => txn = txn.expect(&in_store, revision).delete(&in_store),
                (None, None) => {}
            }
        }
        if now != owned || (recorded.is_some() && now.keys.is_empty()) {
            txn = txn.expect(&owned_key, recorded.as_ref().map_or(0, |entry: &Entry| entry.mod_revision));
            txn = if now.keys.is_empty() {
                txn.delete(&owned_key)
            } else {
                txn.put(&owned_key, serde_json::to_vec(&now).unwrap_or_default())
            };
        }
        if txn.ops.is_empty() {
            return Ok(true);
        }
        Ok(matches!(self.store.commit(txn).await?, Outcome::Committed { .. }))
    }
}

/// The facts of an application's live placement; empty if nothing is live and running.
fn wanted(app: &Application, config: &RegistryConfig) -> BTreeMap<String, String> {
    let Some(live) = app.live_placement().filter(|_| config.enabled && app.desired == Desired::Running) else {
        return BTreeMap::new();
    };
    let folder = if app.key.env == EnvName::default() {
        format!("{}/{}", config.prefix, app.key.app)
    } else {
        format!("{}/{}/{}", config.prefix, app.key.app, app.key.env)
    };
    let listed = |items: Vec<String>| items.join(",");
    let of_service = |name: &ServiceName, service: &Service| {
        let its = live.replicas.iter().filter(|replica| replica.service == *name);
        let addresses: Vec<_> = its.filter_map(|replica| replica.address.filter(|it| it.port() != 0)).collect();
        let fixed = service.host_ports.map(|ports| ports.of(live.id.slot));
        let port = fixed.or_else(|| addresses.first().map(SocketAddr::port));
        [
            ("port", port.map(|port| port.to_string())),
            (
                "addresses",
                Some(listed(addresses.iter().map(ToString::to_string).collect())).filter(|it| !it.is_empty()),
            ),
            ("digest", live.artifacts.of(name).map(str::to_owned)),
        ]
    };
    let mut facts = vec![
        (folder.clone(), "instance", Some(live.id.slot.to_string())),
        (folder.clone(), "hosts", Some(listed(live.spec.hosts().iter().map(ToString::to_string).collect()))),
        (folder.clone(), "release", Some(live.release.to_string())),
    ];
    let mut add = |folder: String, name: &ServiceName, service: &Service| {
        facts.extend(of_service(name, service).map(|(fact, value)| (folder.clone(), fact, value)));
    };
    // The main service stands for the application; with several services, each service has its own facts as well.
    if let Some((name, service)) = live.spec.main_service() {
        add(folder.clone(), name, service);
    }
    for (name, service) in live.spec.services.iter().filter(|_| live.spec.has_several_services()) {
        add(format!("{folder}/services/{name}"), name, service);
    }
    let key = |fact: &'static str| match &config.keys {
        Some(keys) => keys.get(fact).map(String::as_str),
        None => Some(fact),
    };
    let facts = facts.into_iter();
    facts.filter_map(|(folder, fact, value)| Some((format!("{folder}/{}", key(fact)?), value?))).collect()
}

fn parse_key(text: &str) -> Option<AppKey> {
    let (app, env) = text.split_once('/')?;
    Some(AppKey::new(app.parse().ok()?, env.parse().ok()?))
}

#[cfg(test)]
mod tests;

//! All states that the records of a server ever had.

use futures_util::StreamExt;
use gapless_core::{AppKey, Application, Deployment, Release};
use gapless_store::{SqliteStore, Store, WatchEvent};
use std::collections::BTreeMap;
use std::path::Path;

/// The application under test.
pub(super) const APP: &str = "torn";

/// All records of one revision: keys and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State(pub(super) BTreeMap<String, Vec<u8>>);

impl State {
    /// The application's record.
    pub(super) fn app(&self) -> Option<Application> {
        self.decoded(&format!("/gapless/apps/{}", key()))
    }

    pub(super) fn deployment(&self, number: u64) -> Option<Deployment> {
        self.decoded(&format!("/gapless/deployments/{}/{number:012}", key()))
    }

    /// A record that cannot be parsed.
    pub(super) fn unreadable(&self) -> Option<&String> {
        let reads = |key: &str, value: &[u8]| match key.split('/').nth(2) {
            Some("apps") => serde_json::from_slice::<Application>(value).is_ok(),
            Some("deployments") => serde_json::from_slice::<Deployment>(value).is_ok(),
            Some("releases") => serde_json::from_slice::<Release>(value).is_ok(),
            _ => true,
        };
        self.0.iter().find(|(key, value)| !reads(key, value)).map(|(key, _)| key)
    }

    fn decoded<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(self.0.get(key)?).ok()
    }
}

pub(super) fn key() -> AppKey {
    AppKey { app: APP.parse().expect("the name is valid"), env: "production".parse().expect("the name is valid") }
}

/// The states, starting with the empty state of revision 0.
pub(super) struct History(Vec<State>);

impl History {
    /// Reads the history from the store in a state folder.
    pub(super) fn read(state: &Path) -> History {
        let copy = tempfile::tempdir().expect("a temporary folder can be created");
        for ending in ["", "-wal"] {
            let file = format!("state.db{ending}");
            let copied = std::fs::copy(state.join(&file), copy.path().join(&file));
            assert!(copied.is_ok() || ending == "-wal", "a state file is missing: {copied:?}");
        }
        let store = SqliteStore::open(&copy.path().join("state.db")).expect("the final state can be opened");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        tokio.block_on(async {
            let last = store.range("").await.expect("the store can be read").revision;
            let mut changes = store.watch("", 1).await.expect("the store can be read");
            let mut states = vec![State::default()];
            while (states.len() as u64) <= last {
                let batch = changes.next().await.expect("the watch has not ended").expect("the whole history is kept");
                assert_eq!(batch.revision, states.len() as u64, "a revision is missing");
                let mut next = states.last().cloned().unwrap_or_default();
                for event in batch.events {
                    match event {
                        WatchEvent::Put(entry) => drop(next.0.insert(entry.key, entry.value)),
                        WatchEvent::Delete { key } => drop(next.0.remove(&key)),
                    }
                }
                assert_eq!(next.unreadable(), None, "revision {}", batch.revision);
                states.push(next);
            }
            History(states)
        })
    }

    /// The state at a revision, if there was one.
    pub(super) fn at(&self, revision: u64) -> Option<&State> {
        self.0.get(usize::try_from(revision).ok()?)
    }

    /// The first revision from `from` on that meets a condition.
    pub(super) fn first(&self, from: u64, is_so: &dyn Fn(&State) -> bool) -> Option<u64> {
        (from..self.0.len() as u64).find(|revision| self.at(*revision).is_some_and(is_so))
    }
}

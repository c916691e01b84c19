//! Every state that the records of a server ever had.

use futures_util::StreamExt;
use gapless_core::{AppKey, Application, Deployment, Release};
use gapless_store::{SqliteStore, Store, WatchEvent};
use std::collections::BTreeMap;
use std::path::Path;

/// The application that everything happens to.
pub(super) const APP: &str = "torn";

/// All records of one revision: keys and what they hold.
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

    /// A record that cannot be read.
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
    AppKey { app: APP.parse().expect("a name"), env: "production".parse().expect("a name") }
}

/// The states, from the one of revision 0 on, which is empty.
pub(super) struct History(Vec<State>);

impl History {
    /// Reads the history that the store in a state folder has.
    pub(super) fn read(state: &Path) -> History {
        let copy = tempfile::tempdir().expect("a temporary folder can be made");
        for ending in ["", "-wal"] {
            let file = format!("state.db{ending}");
            let copied = std::fs::copy(state.join(&file), copy.path().join(&file));
            assert!(copied.is_ok() || ending == "-wal", "there is a state file: {copied:?}");
        }
        let store = SqliteStore::open(&copy.path().join("state.db")).expect("the state of the end is whole");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        tokio.block_on(async {
            let last = store.range("").await.expect("it can be read").revision;
            let mut changes = store.watch("", 1).await.expect("it can be read");
            let mut states = vec![State::default()];
            while (states.len() as u64) <= last {
                let batch = changes.next().await.expect("there is more").expect("all of the history is kept");
                assert_eq!(batch.revision, states.len() as u64, "no revision is missing");
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

    /// The first revision from `from` on at which something is so.
    pub(super) fn first(&self, from: u64, is_so: &dyn Fn(&State) -> bool) -> Option<u64> {
        (from..self.0.len() as u64).find(|revision| self.at(*revision).is_some_and(is_so))
    }
}

//! The route table that every data plane should go by: derived from the records, kept in memory, told to whoever
//! watches it.

use gapless_core::{AppKey, Application, RouteGroup, RouteTable};
use std::sync::Arc;
use tokio::sync::watch;

/// The wanted route table. The controllers set their application's group right after each commit.
#[derive(Clone)]
pub struct Tables {
    wanted: Arc<watch::Sender<Arc<RouteTable>>>,
}

impl Tables {
    /// The table of those applications, as they were at `revision`.
    #[must_use]
    pub fn new(revision: u64, apps: &[Application]) -> Self {
        let groups = apps.iter().filter_map(|app| Some((app.key.clone(), Arc::new(RouteGroup::derive(app)?))));
        let table = RouteTable { version: revision, groups: groups.collect() };
        Tables { wanted: Arc::new(watch::Sender::new(Arc::new(table))) }
    }

    /// Sets the routes of one application to what its record, committed at `revision`, says.
    pub fn set(&self, app: &Application, revision: u64) {
        self.replace(&app.key, RouteGroup::derive(app), revision);
    }

    /// Drops the routes of an application that was removed at `revision`.
    pub fn remove(&self, key: &AppKey, revision: u64) {
        self.replace(key, None, revision);
    }

    fn replace(&self, key: &AppKey, group: Option<RouteGroup>, revision: u64) {
        self.wanted.send_if_modified(|table| {
            if table.groups.get(key).map(AsRef::as_ref) == group.as_ref() {
                return false;
            }
            let table = Arc::make_mut(table);
            // Applications commit side by side, so a later revision can arrive first.
            table.version = table.version.max(revision);
            match group {
                Some(group) => table.groups.insert(key.clone(), Arc::new(group)),
                None => table.groups.remove(key),
            };
            true
        });
    }

    /// The table as it is and as it will be.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.wanted.subscribe()
    }
}

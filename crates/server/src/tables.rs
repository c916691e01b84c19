//! The route table that every data plane should go by: derived from the records, kept in memory, told to whoever
//! watches it.

use gapless_core::planted::{self, Bug};
use gapless_core::{AppKey, Application, RouteGroup, RouteTable};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The wanted route table. The controllers set their application's group right after each commit.
///
/// Not a `tokio::sync::watch`: that wakes in random order, and a simulation must replay.
#[derive(Clone)]
pub struct Tables(Arc<Wanted>);

struct Wanted {
    table: Mutex<Arc<RouteTable>>,
    changed: Notify,
}

impl Tables {
    /// The table of those applications, as they were at `revision`.
    #[must_use]
    pub fn new(revision: u64, apps: &[Application]) -> Self {
        let groups = apps.iter().filter_map(|app| Some((app.key.clone(), Arc::new(RouteGroup::derive(app)?))));
        let table = RouteTable { version: revision, groups: groups.collect() };
        Tables(Arc::new(Wanted { table: Mutex::new(Arc::new(table)), changed: Notify::new() }))
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
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.groups.get(key).map(AsRef::as_ref) == group.as_ref() {
            return;
        }
        let next = Arc::make_mut(&mut table);
        // Applications commit side by side, so a later revision can arrive first.
        next.version = if planted::is(Bug::VersionGoesBack) { revision } else { next.version.max(revision) };
        match group {
            Some(group) => next.groups.insert(key.clone(), Arc::new(group)),
            None => next.groups.remove(key),
        };
        drop(table);
        self.0.changed.notify_waiters();
    }

    /// The table as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the next change after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }
}

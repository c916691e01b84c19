//! The route table that every data plane should apply: derived from the records, kept in memory, with a notification of
//! each change.

use gapless_core::planted;
use gapless_core::{AppKey, Application, RouteGroup, RouteTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The wanted route table. Each controller sets its application's route group right after a commit.
///
/// Not a `tokio::sync::watch`, which wakes in random order: a simulation must replay.
#[derive(Clone)]
pub struct Tables(Arc<Inner>);

struct Inner {
    current: Mutex<Current>,
    changed: Notify,
}

struct Current {
    table: Arc<RouteTable>,
    /// The revision of the record that each application's routes were derived from, since the start of this server.
    /// Readers and committers report in any order: the last report need not be of the newest record.
    revisions: BTreeMap<AppKey, u64>,
}

impl Tables {
    /// The table of `apps`, as they were at `revision`.
    #[must_use]
    pub fn new(revision: u64, apps: &[Application]) -> Self {
        let groups = apps.iter().filter_map(|app| Some((app.key.clone(), Arc::new(RouteGroup::derive(app)?))));
        let table = RouteTable { version: revision, groups: groups.collect() };
        let current = Current { table: Arc::new(table), revisions: BTreeMap::new() };
        Tables(Arc::new(Inner { current: Mutex::new(current), changed: Notify::new() }))
    }

    /// Sets the routes of an application from its record of `revision`, unless its routes are of a later revision.
    pub fn set(&self, app: &Application, revision: u64) {
        self.replace(&app.key, RouteGroup::derive(app), revision);
    }

    /// Removes the routes of an application that was removed at `revision`.
    pub fn remove(&self, key: &AppKey, revision: u64) {
        self.replace(key, None, revision);
    }

    fn replace(&self, key: &AppKey, group: Option<RouteGroup>, revision: u64) {
        let mut current = self.lock();
        let known = current.revisions.entry(key.clone()).or_default();
        if revision < *known {
            // Old routes lead to instances that were stopped or frozen since.
            return;
        }
        *known = revision;
        if current.table.groups.get(key).map(AsRef::as_ref) == group.as_ref() {
            return;
        }
        let next = Arc::make_mut(&mut current.table);
        // Applications commit concurrently, so a later revision can arrive first.
        next.version = if planted::lowers_table_version() { revision } else { next.version.max(revision) };
        match group {
            Some(group) => next.groups.insert(key.clone(), Arc::new(group)),
            None => next.groups.remove(key),
        };
        drop(current);
        self.0.changed.notify_waiters();
    }

    /// Raises the version of the table to at least `version`, because a data plane never goes back to an older version.
    pub fn raise_version(&self, version: u64) {
        let mut current = self.lock();
        if current.table.version < version {
            Arc::make_mut(&mut current.table).version = version;
            drop(current);
            self.0.changed.notify_waiters();
        }
    }

    /// The current table.
    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.lock().table.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next change after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_core::routes::MaintenanceRoute;
    use gapless_core::spec::ForwardSettings;

    #[test]
    fn late_report_of_older_record_changes_no_routes() {
        let key: AppKey = "shop/production".parse().unwrap();
        let group = |name: &str| RouteGroup {
            routes: Vec::new(),
            slots: Vec::new(),
            split: None,
            forward: ForwardSettings::default(),
            hold: None,
            maintenance: Some(MaintenanceRoute { page: Some(name.to_owned()), health_paths: Vec::new() }),
            preview: None,
        };
        let (old, new) = (group("old"), group("new"));
        let tables = Tables::new(5, &[]);
        tables.replace(&key, Some(old.clone()), 6);
        tables.replace(&key, Some(new.clone()), 8);
        // The answer to the commit of revision 7 arrives late.
        tables.replace(&key, Some(old.clone()), 7);
        assert_eq!(tables.current().groups.get(&key).map(AsRef::as_ref), Some(&new));
        tables.replace(&key, Some(old), 9);
        assert_eq!(tables.current().version, 9);
        // Records that were restored from a backup are older than the table that data planes apply.
        tables.raise_version(40);
        tables.replace(&key, Some(new), 10);
        tables.raise_version(30);
        assert_eq!(tables.current().version, 40);
    }
}

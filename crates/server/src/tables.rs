//! The route table that every data plane should go by: derived from the records, kept in memory, told to whoever
//! watches it.

use gapless_core::planted;
use gapless_core::{AppKey, Application, RouteGroup, RouteTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The wanted route table. The controllers set their application's group right after each commit.
///
/// Not a `tokio::sync::watch`: that wakes in random order, and a simulation must replay.
#[derive(Clone)]
pub struct Tables(Arc<Wanted>);

struct Wanted {
    present: Mutex<Present>,
    changed: Notify,
}

struct Present {
    table: Arc<RouteTable>,
    /// The revision of each application's record that its routes are of, for those of which it was told. Whoever reads or
    /// commits a record says so at its leisure: the one that says so last need not have the newest record.
    revisions: BTreeMap<AppKey, u64>,
}

impl Tables {
    /// The table of those applications, as they were at `revision`.
    #[must_use]
    pub fn new(revision: u64, apps: &[Application]) -> Self {
        let groups = apps.iter().filter_map(|app| Some((app.key.clone(), Arc::new(RouteGroup::derive(app)?))));
        let table = RouteTable { version: revision, groups: groups.collect() };
        let present = Present { table: Arc::new(table), revisions: BTreeMap::new() };
        Tables(Arc::new(Wanted { present: Mutex::new(present), changed: Notify::new() }))
    }

    /// Sets the routes of one application to what its record, committed at `revision`, says, unless they are of a later one.
    pub fn set(&self, app: &Application, revision: u64) {
        self.replace(&app.key, RouteGroup::derive(app), revision);
    }

    /// Drops the routes of an application that was removed at `revision`.
    pub fn remove(&self, key: &AppKey, revision: u64) {
        self.replace(key, None, revision);
    }

    fn replace(&self, key: &AppKey, group: Option<RouteGroup>, revision: u64) {
        let mut present = self.lock();
        let known = present.revisions.entry(key.clone()).or_default();
        if revision < *known {
            // Old routes lead to what was stopped or frozen since.
            return;
        }
        *known = revision;
        if present.table.groups.get(key).map(AsRef::as_ref) == group.as_ref() {
            return;
        }
        let next = Arc::make_mut(&mut present.table);
        // Applications commit side by side, so a later revision can arrive first.
        next.version = if planted::lowers_table_version() { revision } else { next.version.max(revision) };
        match group {
            Some(group) => next.groups.insert(key.clone(), Arc::new(group)),
            None => next.groups.remove(key),
        };
        drop(present);
        self.0.changed.notify_waiters();
    }

    /// Gives the table that version at least, because a data plane never goes back to an older one.
    pub fn not_before(&self, version: u64) {
        let mut present = self.lock();
        if present.table.version < version {
            Arc::make_mut(&mut present.table).version = version;
            drop(present);
            self.0.changed.notify_waiters();
        }
    }

    /// The table as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<RouteTable> {
        self.lock().table.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn routes_of_an_older_record_that_is_told_of_late_change_nothing() {
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
        // The answer to the commit of revision 7 took its time.
        tables.replace(&key, Some(old.clone()), 7);
        assert_eq!(tables.current().groups.get(&key).map(AsRef::as_ref), Some(&new));
        tables.replace(&key, Some(old), 9);
        assert_eq!(tables.current().version, 9);
        // Records that were restored are older than what data planes go by.
        tables.not_before(40);
        tables.replace(&key, Some(new), 10);
        tables.not_before(30);
        assert_eq!(tables.current().version, 40);
    }
}

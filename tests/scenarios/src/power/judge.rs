//! Judges the disk after a power loss, with gapless's own code for reading it.

use super::content::Found;
use super::disk::{self, Image};
use super::history::{History, State, key};
use super::paths::{STATE, TABLE};
use super::record::{Acknowledged, Recording};
use super::trace::{Change, Event, Syncs};
use gapless_core::RouteGroup;
use gapless_proxy::table_file::{self, Loaded};
use gapless_store::{SqliteStore, Store};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The expectations for images.
pub(super) struct Judge<'a> {
    recording: &'a Recording,
    tokio: Runtime,
}

impl<'a> Judge<'a> {
    pub(super) fn new(recording: &'a Recording) -> Judge<'a> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        Judge { recording, tokio }
    }

    /// Writes the image of the moment after so many events below `folder`, and returns its problems.
    pub(super) fn judge(&self, image: &Image, events: usize, folder: &Path) -> Vec<String> {
        disk::write(image, folder, None);
        let mut wrong = Vec::new();
        let due = self.recording.acknowledged.iter().take_while(|change| change.events <= events);
        let due: Vec<&Acknowledged> = due.collect();
        let Some(revision) = self.records(folder, &due, &mut wrong) else { return wrong };
        self.routes(folder, revision, events, &due, &mut wrong);
        if let Some(state) = self.history().at(revision) {
            programs(image, state, &mut wrong);
        }
        wrong
    }

    fn history(&self) -> &History {
        &self.recording.history
    }

    /// Checks that the records can be opened, are intact, are a state of the history, and contain every acknowledged
    /// change; returns their revision.
    fn records(&self, folder: &Path, due: &[&Acknowledged], wrong: &mut Vec<String>) -> Option<u64> {
        let file = folder.join(STATE).join("state.db");
        let range = SqliteStore::open(&file).and_then(|store| self.tokio.block_on(store.range("")));
        let range = match range {
            Ok(range) => range,
            Err(error) => {
                wrong.push(error.to_string());
                return None;
            }
        };
        match integrity(&file) {
            Ok(text) if text == "ok" => {}
            other => wrong.push(format!("the integrity check says {other:?}")),
        }
        let state = State(range.entries.into_iter().map(|entry| (entry.key, entry.value)).collect());
        // A change whose sync failed may be on the disk, followed by another change with its revision.
        let is_known = self.recording.syncs == Syncs::Well;
        if is_known && self.history().at(range.revision) != Some(&state) {
            wrong.push(format!("the records at revision {} are no state of the history", range.revision));
        }
        if let Some(key) = state.unreadable() {
            wrong.push(format!("{key} cannot be read"));
        }
        if let Some(change) = due.iter().find(|change| change.revision > range.revision) {
            let (what, at) = (change.what, change.revision);
            wrong.push(format!("{what} was acknowledged, at revision {at}, and the records end at {}", range.revision));
        }
        Some(range.revision)
    }

    /// Checks that the table is intact, no newer than the records (a proxy never goes back to an older table, so it
    /// would reject every table of the server), and as new as the acknowledged changes.
    fn routes(&self, folder: &Path, revision: u64, events: usize, due: &[&Acknowledged], wrong: &mut Vec<String>) {
        let table = match table_file::load(&folder.join(TABLE)) {
            Ok(Loaded::Table(table)) => Some(table),
            Ok(Loaded::Missing) => None,
            Ok(Loaded::Corrupt { reason, .. }) => return wrong.push(format!("the table is damaged: {reason}")),
            Err(error) => return wrong.push(format!("the table cannot be read: {error}")),
        };
        let version = table.as_ref().map_or(0, |table| table.version);
        if version > revision {
            wrong.push(format!("the table is of revision {version}, the records end at {revision}"));
        }
        let acknowledged_after = due.last().map_or(0, |change| change.events);
        let floor = self.tables(acknowledged_after.min(events));
        if version < floor {
            wrong.push(format!("a table of revision {floor} was acknowledged, and {version} is there"));
        }
        // The proxy writes a table that it could not sync again later; no acknowledgement waits for that.
        let routed = due.iter().rev().find(|change| change.is_routed && self.recording.syncs == Syncs::Well);
        if let Some(change) = routed {
            let group = table.as_ref().and_then(|table| table.groups.get(&key()));
            let derived = |revision| Some(Arc::new(RouteGroup::derive(&self.history().at(revision)?.app()?)?));
            if !(change.revision..=revision).any(|revision| derived(revision).as_ref() == group) {
                wrong.push(format!("{} was acknowledged, but the table does not contain it", change.what));
            }
        }
    }

    /// The version of the newest table in its place, with the folder synced, after so many events.
    fn tables(&self, events: usize) -> u64 {
        let until = self.recording.events.get(..events).unwrap_or_default();
        let is_folder = |path: &Path| path == Path::new(STATE);
        let is_synced =
            |event: &&Event| matches!(&event.change, Change::Sync { path, failed: false } if is_folder(path));
        let Some(synced) = until.iter().rev().find(is_synced) else { return 0 };
        let placed = &self.recording.tables;
        placed.iter().take_while(|(at, _)| *at < synced.began_after).last().map_or(0, |(_, version)| *version)
    }
}

/// Checks that the programs of the live release are complete: else it could not be started again.
fn programs(image: &Image, state: &State, wrong: &mut Vec<String>) {
    let Some(app) = state.app() else { return };
    let live = app.live.and_then(|slot| app.slots.get(&slot));
    let wanted: BTreeSet<&str> =
        live.iter().flat_map(|live| live.artifacts.0.values()).filter_map(|it| it.strip_prefix("sha256:")).collect();
    for checksum in wanted {
        let folder = Path::new(STATE).join("processes/releases").join(checksum);
        let is_whole = image.iter().any(|(path, found)| path.starts_with(&folder) && *found == Found::Program);
        if !is_whole {
            wrong.push(format!("the program of the live release {checksum} is missing or incomplete"));
        }
    }
}

fn integrity(file: &Path) -> Result<String, rusqlite::Error> {
    rusqlite::Connection::open(file)?.query_row("PRAGMA integrity_check", [], |row| row.get(0))
}

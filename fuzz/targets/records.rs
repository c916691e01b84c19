//! Records in the store: garbage is rejected; a record survives serialization, its routes can be derived, and the state
//! machine handles it; an export is read back unchanged.

#![no_main]

use gapless_core::machine::{State, Step, step};
use gapless_core::routes::RouteGroup;
use gapless_core::{Application, Deployment, Facts, Release, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

// The module alone: the whole crate would bring in SQLite and the client of etcd.
#[allow(dead_code, reason = "the store's tests use the rest")]
#[path = "../../crates/store/src/export.rs"]
mod export;

/// Steps within which the machine must settle; more means a loop.
const STEPS_MAX: usize = 200;

/// The three records that the state machine uses.
#[derive(Serialize, Deserialize)]
struct Records {
    app: Application,
    deployment: Option<Deployment>,
    release: Option<Release>,
    #[serde(default)]
    now: Timestamp,
}

fuzz_target!(|data: &[u8]| {
    if let Some(app) = decoded::<Application>(data) {
        settles(Records { app, deployment: None, release: None, now: Timestamp(1) });
    }
    decoded::<Deployment>(data);
    decoded::<Release>(data);
    if let Ok(records) = serde_json::from_slice::<Records>(data) {
        settles(records);
    }
    exported(data);
});

/// Parses the value as a record, and checks that it survives serialization.
fn decoded<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &[u8]) -> Option<T> {
    let record: T = serde_json::from_slice(value).ok()?;
    let written = serde_json::to_vec(&record).expect("a serializable record");
    let read: T = serde_json::from_slice(&written).expect("a readable record");
    assert_eq!(read, record, "{}", String::from_utf8_lossy(&written));
    Some(record)
}

/// Checks that the machine settles without any facts about the world.
fn settles(Records { app, deployment, release, now }: Records) {
    let facts = Facts { now, ..Facts::default() };
    let mut state = State { app, deployment, release };
    for _ in 0..STEPS_MAX {
        if let Some(group) = RouteGroup::derive(&state.app) {
            let json = serde_json::to_vec(&group).expect("routes are JSON");
            assert_eq!(serde_json::from_slice::<RouteGroup>(&json).expect("routes are read"), group);
        }
        match step(&state, &facts) {
            Step::Commit(next) => state = *next,
            Step::Rest { .. } => return,
        }
    }
    panic!("the machine does not settle: {state:?}");
}

/// Checks that garbage is rejected, and that entries with it survive an export.
fn exported(data: &[u8]) {
    let read = |text: &[u8]| {
        let mut found = Vec::new();
        let count = export::read(text, |key, value| {
            found.push((key, value));
            Ok::<_, export::ExportError>(())
        })?;
        assert_eq!(count as usize, found.len());
        Ok::<_, export::ExportError>(found)
    };
    let _ = read(data);
    let entries: Vec<(String, Vec<u8>)> = data
        .split(|byte| *byte == b';')
        .map(|entry| {
            let (key, value) = entry.split_at(entry.len() / 2);
            (String::from_utf8_lossy(key).into_owned(), value.to_vec())
        })
        .collect();
    let mut text: Vec<u8> = export::lines(data.len() as u64, entries.clone()).flatten().collect();
    match read(&text) {
        Ok(found) => assert_eq!(found, entries),
        Err(error) => panic!("{error}"),
    }
    // Excludes the last byte, the newline, without which the export is still complete.
    let at = usize::from(data.first().copied().unwrap_or_default()) * 7 % (text.len() - 1);
    text[at] ^= 1 << (data.len() % 8);
    assert!(read(&text).is_err(), "changed at {at}: {}", String::from_utf8_lossy(&text));
}

//! What is in the store: garbage is refused; a record that is read is written and read the same, its routes can be
//! derived, and the state machine has an answer to it, whatever sense it makes; and an export is read as it was written.

#![no_main]

use gapless_core::machine::{State, Step, step};
use gapless_core::routes::RouteGroup;
use gapless_core::{Application, Deployment, Facts, Release, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

// The module alone: the crate around it would bring SQLite and the client of etcd.
#[allow(dead_code, reason = "its tests are the store's")]
#[path = "../../crates/store/src/export.rs"]
mod export;

/// Steps in which a record comes to rest; more are a loop.
const STEPS_MAX: usize = 200;

/// The three records that the state machine goes by.
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
        rests(Records { app, deployment: None, release: None, now: Timestamp(1) });
    }
    decoded::<Deployment>(data);
    decoded::<Release>(data);
    if let Ok(records) = serde_json::from_slice::<Records>(data) {
        rests(records);
    }
    exported(data);
});

/// What the value is, if it is a record of that kind: then it is the same again after it was written.
fn decoded<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &[u8]) -> Option<T> {
    let record: T = serde_json::from_slice(value).ok()?;
    let written = serde_json::to_vec(&record).expect("it is JSON");
    let read: T = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(read, record, "{}", String::from_utf8_lossy(&written));
    Some(record)
}

/// Nothing is known of the world, so the machine must come to rest.
fn rests(Records { app, deployment, release, now }: Records) {
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
    panic!("it never comes to rest: {state:?}");
}

/// Garbage is refused, and entries made of it come back as they were.
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
    // The last byte is the end of a line that is complete without it.
    let at = usize::from(data.first().copied().unwrap_or_default()) * 7 % (text.len() - 1);
    text[at] ^= 1 << (data.len() % 8);
    assert!(read(&text).is_err(), "changed at {at}: {}", String::from_utf8_lossy(&text));
}

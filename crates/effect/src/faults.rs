//! The faults: what a test has asked for, in a file that every process of a host under test looks at.
//!
//! `$GAPLESS_FAULTS` names a folder. Its file `armed` holds `POINT:SIDE FAULT SKIP`, say `runtime.start:after kill 2`:
//! the third time that a process comes to that place, it is killed there. What has struck is renamed to `struck.PID`, so
//! that of all processes one is struck, once. Where there is a file `trace`, each place that is come to is added to it.

use crate::Point;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long what hangs does.
const HANG: Duration = Duration::from_secs(3);

/// A call that a test has made fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a fault that a test asked for at {}", self.place)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::other(fault)
    }
}

/// What is to happen at a place.
enum Struck {
    Kill,
    Error,
    Hang,
}

/// Comes to a place, on a thread that may be blocked.
///
/// # Errors
/// The fault, where an error was asked for.
pub fn trip(point: Point, side: &str) -> Result<(), Fault> {
    match struck(point, side) {
        None => Ok(()),
        Some(Struck::Hang) => {
            std::thread::sleep(HANG);
            Ok(())
        }
        Some(other) => strike(&other, point, side),
    }
}

/// Carries out an asynchronous effect.
///
/// # Errors
/// The effect's own, or that of a fault that a test has asked for.
pub async fn around<T, E>(
    point: Point,
    error: impl Fn(Fault) -> E,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    faulted(point, "before").await.map_err(&error)?;
    let done = effect.await?;
    faulted(point, "after").await.map_err(&error)?;
    Ok(done)
}

/// Comes to a place, in a task.
///
/// # Errors
/// The fault, where an error was asked for.
pub async fn faulted(point: Point, side: &str) -> Result<(), Fault> {
    match struck(point, side) {
        None => Ok(()),
        Some(Struck::Hang) => {
            tokio::time::sleep(HANG).await;
            Ok(())
        }
        Some(other) => strike(&other, point, side),
    }
}

fn strike(struck: &Struck, point: Point, side: &str) -> Result<(), Fault> {
    if matches!(struck, Struck::Kill) {
        let own = rustix::process::getpid();
        // Of a signal to oneself there is nothing to be waited for: nothing runs after it.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    }
    Err(Fault { place: format!("{}:{side}", point.name()) })
}

fn struck(point: Point, side: &str) -> Option<Struck> {
    let folder = folder()?;
    let place = format!("{}:{side}", point.name());
    trace(folder, &place);
    arm(folder);
    let fault = evaluate(&place)?;
    // One process alone, and once: who can rename it.
    fs::rename(folder.join("armed"), folder.join(format!("struck.{}", std::process::id()))).ok()?;
    match fault.as_str() {
        "kill" => Some(Struck::Kill),
        "hang" => Some(Struck::Hang),
        _ => Some(Struck::Error),
    }
}

fn evaluate(place: &str) -> Option<String> {
    fail::fail_point!(place, |argument: Option<String>| argument);
    None
}

/// Configures what is in the file, if that is new.
fn arm(folder: &Path) {
    static SEEN: Mutex<String> = Mutex::new(String::new());
    let Ok(text) = fs::read_to_string(folder.join("armed")) else { return };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *seen == text {
        return;
    }
    let mut words = text.split_whitespace();
    if let (Some(place), Some(fault), Some(skip)) = (words.next(), words.next(), words.next()) {
        for (earlier, _) in fail::list() {
            fail::remove(earlier);
        }
        let skip = if skip == "0" { String::new() } else { format!("{skip}*off->") };
        if let Err(why) = fail::cfg(place, &format!("{skip}1*return({fault})")) {
            eprintln!("{place}: {why}");
        }
    }
    seen.clone_from(&text);
}

fn trace(folder: &Path, place: &str) {
    let file = OpenOptions::new().append(true).open(folder.join("trace"));
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{place}\n").as_bytes());
    }
}

fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("GAPLESS_FAULTS").map(PathBuf::from)).as_deref()
}

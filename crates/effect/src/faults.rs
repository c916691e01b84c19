//! Injects faults, which a test requests in a file that every process of the host under test reads.
//!
//! `$GAPLESS_FAULTS` names a folder. Its file `armed` contains `POINT:SIDE FAULT SKIP`, such as `runtime.start:after
//! kill 2`: the third time that a process reaches that failpoint, it is killed there. The process that triggers the
//! fault renames the file to `struck.PID`, so that the fault strikes exactly one process, once. If there is a file
//! `trace`, each failpoint that is reached is appended to it.

use crate::Point;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The delay of the fault `hang`.
const HANG: Duration = Duration::from_secs(3);

/// The error of a call that fails on a test's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The failpoint.
    pub place: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a fault requested by a test at {}", self.place)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::other(fault)
    }
}

/// The fault that strikes at a failpoint.
enum Struck {
    Kill,
    Error,
    Hang,
}

/// Passes a failpoint, on a thread that may block.
///
/// # Errors
/// The fault, if the test requested an error.
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

/// Runs an asynchronous effect between its two failpoints.
///
/// # Errors
/// The error of the effect, or a requested fault.
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

/// Passes a failpoint, in a task.
///
/// # Errors
/// The fault, if the test requested an error.
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
        // Ends this process, so there is no result to handle.
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
    // The rename succeeds in exactly one process.
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

/// Arms the fault in the file, if it is new.
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

//! Processes and files as the operating system shows them, independent of gapless's own view.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A process of a host under test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its arguments.
    pub words: Vec<String>,
    /// The instance that the process is or belongs to.
    pub instance: Option<String>,
}

impl Process {
    /// Returns whether the process is gapless in this role.
    pub fn is(&self, role: &str) -> bool {
        self.words.get(1).is_some_and(|word| word == role)
    }
}

/// The processes whose arguments or environment name this folder.
pub fn processes(folder: &Path) -> Vec<Process> {
    processes_naming(&folder.display().to_string())
}

/// The processes of an application's containers on any Engine, running or not.
pub fn processes_of_containers(app: &str) -> Vec<Process> {
    processes_naming(&format!("GAPLESS_INSTANCE={app}."))
}

/// The processes whose arguments or environment contain this text. Zombies have neither.
fn processes_naming(part: &str) -> Vec<Process> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let text = |file: &str| fs::read(entry.path().join(file)).map(|bytes| strings(&bytes)).unwrap_or_default();
        let (words, variables) = (text("cmdline"), text("environ"));
        if pid == own || !words.iter().chain(&variables).any(|text| text.contains(part)) {
            continue;
        }
        let of = |name: &str| variables.iter().find_map(|text| text.strip_prefix(name).map(str::to_owned));
        let shim = words.iter().position(|word| word == "shim").and_then(|at| words.get(at + 1));
        let instance = match shim {
            Some(folder) => Path::new(folder).file_name().map(|name| name.to_string_lossy().into_owned()),
            None => of("GAPLESS_INSTANCE="),
        };
        found.push(Process { pid, words, instance });
    }
    found
}

fn strings(bytes: &[u8]) -> Vec<String> {
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Kills a process, if it still exists.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Sends a process a signal, if it still exists.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Returns whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // proc(5): the state follows the name, which is in parentheses and may have any character in it.
    text.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

/// The instances that have a folder in the process runtime of this state folder.
pub fn instance_folders(state: &Path) -> BTreeSet<String> {
    instance_folders_of(&state.join("processes"))
}

/// The instances that have a folder in this runtime's root folder.
pub fn instance_folders_of(root: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(root.join("instances")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Files that nothing will finish once everything has settled: temporary files beside their destination, half-copied
/// programs, and remains of nginx's files.
pub fn unfinished(state: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if name.ends_with(".new") || name.starts_with("new-") || name.starts_with(".gapless-") {
                found.insert(entry.path().display().to_string());
            }
        }
    }
    found
}

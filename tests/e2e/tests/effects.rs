//! Every durable write and outside effect has a failpoint, at which the crash matrix makes it fail. An effect without a
//! failpoint fails here, or does not compile (a method of a driver, see `crates/server/src/failpoints.rs`).

use std::fs;
use std::path::{Path, PathBuf};

/// The crates with effects. The command line writes once, on request, and is run again after a failure; `gapless
/// render` writes its files again from the keys.
const WRITERS: &[&str] = &[
    "crates/plane/src",
    "crates/proxy/src",
    "crates/runtime/src",
    "crates/server/src",
    "crates/store/src",
    "crates/cli/src/main.rs",
];

/// Code that changes the disk, or starts a process.
const WRITES: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "File::create(",
    ".sync_all()",
    ".write_all(",
    ".spawn()",
    ".exec()",
    ".persist(",
    "fs::hard_link(",
];

/// Writes without a failpoint, by the end of the file's path, with the reason.
const EXEMPT: &[(&str, &str)] = &[
    // Limits of the kernel, which end with the processes.
    ("cgroup.rs", ""),
    // Output of an instance; lost lines are acceptable.
    ("output.rs", ""),
    // Created once, before there is anything to lose.
    ("process/folder.rs", "fs::create_dir_all(folder)"),
    ("process/folder.rs", "File::open(made)"),
    ("store/src/folder.rs", "File::open(parent)"),
    ("nginx/files.rs", "fs::create_dir_all(folder)"),
    ("nginx/program.rs", "fs::create_dir_all(&settings.config_dir)"),
    ("http/listener.rs", "fs::create_dir_all(folder)"),
    // An empty file that reserves ports; another start of the placement chooses new ports.
    ("process/folder.rs", "fs::remove_file(self.reservation(placement))"),
    // A damaged table is moved aside at the start, before anything is served.
    ("table_file.rs", "fs::rename(file, &aside)"),
    // Inside the step `ProgramCopy`, and the removal of an incomplete copy.
    ("program.rs", "to.write_all("),
    ("program.rs", "File::create(to)"),
    ("program.rs", "copy.sync_all()"),
    ("program.rs", "fs::remove_file(self.0)"),
    ("program.rs", "fs::remove_file(entry.path())"),
    // Only disk space: remains are removed the next time.
    ("program.rs", "fs::remove_file(&file).or_else"),
    ("program.rs", "fs::remove_dir_all(entry.path())"),
    // Remains of a killed attempt, removed before the next attempt.
    ("nginx/files.rs", "fs::remove_file(&path);"),
    ("nginx/program.rs", "fs::remove_dir_all(entry.path())"),
    ("systemd/mod.rs", "fs::remove_file(&beside)"),
    ("http/listener.rs", "fs::remove_file(&fresh)"),
    ("proxy/src/process.rs", "fs::remove_file(&new)"),
    ("predecessor.rs", "fs::remove_file("),
    ("sqlite/open.rs", "fs::remove_file(&leftover)"),
    // A folder that was always empty.
    ("start.rs", "fs::remove_dir(&folder)"),
    // The reason of a shim's failure, for people.
    ("shim/mod.rs", "fs::write(folder.join(\"failure\")"),
    // Inside a step, through a separate closure.
    ("member.rs", "let note = "),
    ("supervisor.rs", ".spawn()"),
    // Queries: they change nothing.
    ("nginx/marker.rs", "stream.write_all(request"),
    // Clients and servers of a test suite.
    ("conformance/client.rs", ""),
    ("conformance/origin.rs", ""),
    ("journal.rs", "command.spawn()"),
    ("credentials.rs", ""),
    // A configuration for nginx's own test; nothing else reads it.
    ("nginx/program.rs", "std::fs::write(folder.path()"),
    // Inside the point `Gate`.
    ("gates/command.rs", "command.spawn()"),
    // A backup on request, which is requested again if it was not finished.
    ("sqlite/backup.rs", ""),
    // A check whether the disk accepts writes.
    ("sqlite/error.rs", ""),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().contains("tests") {
            sources(&entry.path(), found);
        }
    }
}

/// The content of the file without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// The ranges of the text inside the parentheses of a call of `step`.
fn in_steps(text: &str) -> Vec<(usize, usize)> {
    let begins = text.match_indices("step(Point::").map(|(at, _)| at + "step".len());
    let end = |begin: usize| {
        let mut depth = 0_u32;
        let closes = text[begin..].char_indices().find(|(_, sign)| {
            depth = match sign {
                '(' => depth + 1,
                ')' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        closes.map_or(text.len(), |(length, _)| begin + length)
    };
    begins.map(|begin| (begin, end(begin))).collect()
}

#[test]
fn every_durable_write_has_a_failpoint() {
    let mut files = Vec::new();
    WRITERS.iter().for_each(|path| sources(&root().join(path), &mut files));
    assert!(files.len() > 8, "{files:?}");
    let mut without = Vec::new();
    let mut unused: Vec<_> = EXEMPT.iter().collect();
    for path in files {
        let (text, name) = (code(&path), path.display().to_string());
        let steps = in_steps(&text);
        for write in WRITES {
            for (at, _) in text.match_indices(write) {
                let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                let line = text[line..].lines().next().unwrap_or_default().trim();
                let is_in_step = steps.iter().any(|(begin, end)| (*begin..*end).contains(&at));
                let exempts = |(file, what): &(&str, &str)| name.ends_with(file) && line.contains(what);
                let is_exempt = EXEMPT.iter().any(exempts);
                unused.retain(|exemption| !exempts(exemption));
                if !is_in_step && !is_exempt && !line.starts_with("//") {
                    without.push(format!("{}: {line}", path.display()));
                }
            }
        }
    }
    assert!(unused.is_empty(), "these exemptions match nothing: {unused:#?}");
    assert!(without.is_empty(), "wrap these in `gapless_effect::step`: {without:#?}");
}

#[test]
fn every_failpoint_is_used() {
    let listed = fs::read_to_string(root().join("crates/effect/src/lib.rs")).unwrap();
    let lines = listed.lines().filter(|line| !line.contains("cfg("));
    let names = lines.filter_map(|line| line.trim().split_once(" = \"").map(|(name, _)| name.to_owned()));
    let names: Vec<String> = names.collect();
    assert!(names.len() > 30, "{names:?}");
    let mut files = Vec::new();
    WRITERS.iter().for_each(|path| sources(&root().join(path), &mut files));
    let all: String = files.iter().map(|path| code(path)).collect();
    for name in names {
        assert!(all.contains(&format!("Point::{name}")), "the failpoint {name} is unused");
    }
}

/// The drivers are created in one place, which wraps them with failpoints.
#[test]
fn drivers_are_wrapped_with_failpoints() {
    let control_plane = code(&root().join("crates/server/src/control_plane.rs"));
    for wrapped in
        ["failpoints::store(store)", "failpoints::runtimes(runtimes)", "failpoints::plane(plane)", "failpoints::gates("]
    {
        assert!(control_plane.contains(wrapped), "{wrapped}");
    }
}

#[test]
fn default_build_has_no_failpoints() {
    let program = gapless_harness::Gapless::new(Path::new("/nowhere"), Path::new("/"));
    assert_eq!(program.run(["failpoints"]).code, 2, "only the build for the crash matrix has this command");
}

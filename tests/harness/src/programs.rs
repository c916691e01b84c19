//! The binaries under test and where they are found.

use std::path::PathBuf;

/// The build of gapless with failpoints: `$GAPLESS_FAILING`, else `gapless-failpoints` beside gapless.
#[must_use]
pub fn failing_program() -> PathBuf {
    let beside = || program().with_file_name("gapless-failpoints");
    let path = std::env::var_os("GAPLESS_FAILING").map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing: `./scripts/lib/failpoints.sh` builds it", path.display());
    path
}

/// The binary under test: `$GAPLESS_BINARY`, else the one beside the test's own program.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("GAPLESS_BINARY") {
        return path.into();
    }
    let mut folder = std::env::current_exe().expect("the test program is a file");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program = folder.join("gapless");
    assert!(program.exists(), "{} is missing: build it first, as ./scripts/test does", program.display());
    program
}

/// The program of the example application: `$BDD_ASSISTANT_BINARY`, else the one beside gapless.
#[must_use]
pub fn example_program() -> PathBuf {
    std::env::var_os("BDD_ASSISTANT_BINARY").map_or_else(|| program().with_file_name("bdd-assistant"), PathBuf::from)
}

/// The program of the demonstration, beside gapless.
#[must_use]
pub fn demo_program() -> PathBuf {
    program().with_file_name("gapless-demo")
}

//! Runs an (ignored) test of this binary as a separate process, so that it can be killed or put under limits.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATH_VARIABLE: &str = "GAPLESS_STORE_TEST_PATH";

/// The command that runs the test `name` with `path`, wrapped in the command `outer` if that is not empty.
pub fn within(outer: &[&str], name: &str, path: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match outer.split_first() {
        None => Command::new(this),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env(PATH_VARIABLE, path);
    command
}

/// How long such a process may live, so that a test that waits for it ends.
const LIFETIME: Duration = Duration::from_secs(120);

/// The path that this process was started with; `None` if it is not such a process.
pub fn path() -> Option<PathBuf> {
    let path = std::env::var_os(PATH_VARIABLE).map(PathBuf::from)?;
    std::thread::spawn(|| {
        std::thread::sleep(LIFETIME);
        eprintln!("not finished within {LIFETIME:?}");
        std::process::exit(1);
    });
    Some(path)
}

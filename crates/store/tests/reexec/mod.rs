//! Running one (ignored) test of this binary as a process of its own, so that it can be killed or put under limits.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATH_VARIABLE: &str = "GAPLESS_STORE_TEST_PATH";

/// The command that runs the test `name` with `path`, started by `outer`, a command that takes a command, if it is given.
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

/// How long such a process may live, so that a test that waits for it comes to an end.
const LIFETIME: Duration = Duration::from_secs(120);

/// The path that this process was started with; none where it is not one of these.
pub fn path() -> Option<PathBuf> {
    let path = std::env::var_os(PATH_VARIABLE).map(PathBuf::from)?;
    std::thread::spawn(|| {
        std::thread::sleep(LIFETIME);
        eprintln!("not done within {LIFETIME:?}");
        std::process::exit(1);
    });
    Some(path)
}

//! A shim for the tests: the same as `gapless shim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).unwrap_or_default();
    gapless_runtime::process::shim::run(folder.as_ref())
}

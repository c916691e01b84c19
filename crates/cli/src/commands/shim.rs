//! `gapless shim`: supervises one process instance, so that its output and its exit are kept while no server runs.

use std::path::Path;
use std::process::ExitCode;

pub fn run(folder: &Path) -> ExitCode {
    gapless_runtime::process::shim::run(folder)
}

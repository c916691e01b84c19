//! The `docker` command.

use crate::cli::CommandResult;
use std::collections::BTreeSet;
use std::process::Command;

/// The result of a `docker` command.
pub struct DockerResult(pub CommandResult);

impl DockerResult {
    /// The standard output.
    ///
    /// # Panics
    /// If the command failed.
    pub fn ok(self) -> String {
        assert_eq!(self.0.code, 0, "docker: {:?}", self.0);
        self.0.stdout
    }
}

/// Runs `docker` with these arguments on the host's Engine.
///
/// # Panics
/// If `docker` cannot be run.
#[must_use]
pub fn docker(words: &[&str]) -> DockerResult {
    let output = Command::new("docker").args(words).output().expect("docker can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    DockerResult(CommandResult { code: output.status.code().unwrap_or(-1), stdout, stderr })
}

/// The containers of an application, running or not.
pub fn containers(app: &str, engine: Option<&str>) -> BTreeSet<String> {
    let named = format!("name=^/?{app}\\.");
    let on = engine.into_iter().flat_map(|engine| ["--host", engine]);
    let words: Vec<&str> = on.chain(["ps", "--all", "--filter", &named, "--format", "{{.Names}}"]).collect();
    let text = docker(&words).ok();
    text.lines().map(str::to_owned).collect()
}

//! The `gapless` command, as a user runs it.

use crate::programs::program;
use gapless_core::Deployment;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LATEST: [&str; 4] = ["history", "--json", "-n", "1"];

/// The `gapless` binary as a client of one server.
#[derive(Debug, Clone)]
pub struct Gapless {
    program: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
}

/// The result of a finished command.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// The exit code; 128 if a signal ended the command.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Gapless {
    /// The command for the server at `socket`, run in `folder`.
    #[must_use]
    pub fn new(socket: &Path, folder: &Path) -> Self {
        Gapless { program: program(), socket: socket.to_owned(), folder: folder.to_owned() }
    }

    /// The same command in another folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        Gapless { folder: folder.to_owned(), ..self.clone() }
    }

    /// Runs the command and waits for its exit.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> CommandResult {
        let output = self.command(args).output().expect("gapless can be run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(128);
        CommandResult { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs the command, which must succeed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> CommandResult {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    /// Runs the command, which must succeed, and parses its output as JSON.
    pub fn json<T: DeserializeOwned, S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> T {
        let ran = self.ok(args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// The newest deployment of the application in the current folder.
    ///
    /// # Panics
    /// If there is no deployment, or the server does not answer.
    #[must_use]
    pub fn latest(&self) -> Deployment {
        self.json::<Vec<Deployment>, _>(LATEST).remove(0)
    }

    /// The newest deployment, if there is one and the server answers.
    #[must_use]
    pub fn latest_if_any(&self) -> Option<Deployment> {
        serde_json::from_str::<Vec<Deployment>>(&self.run(LATEST).stdout).unwrap_or_default().pop()
    }

    /// Starts the command with both outputs piped.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gapless can be run")
    }

    /// The prepared command, for further changes before it runs.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.folder).env("GAPLESS_SOCKET", &self.socket).stdin(Stdio::null());
        command
    }
}

//! The `gapless` command, as a user runs it.

use crate::programs::program;
use gapless_core::Deployment;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LATEST: [&str; 4] = ["history", "--json", "-n", "1"];

/// The `gapless` binary, speaking to one server.
#[derive(Debug, Clone)]
pub struct Gapless {
    program: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
}

/// A command that has run.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; 128 + n where a signal n ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Gapless {
    /// The command that speaks to the server at `socket`, run in `folder`.
    #[must_use]
    pub fn new(socket: &Path, folder: &Path) -> Self {
        Gapless { program: program(), socket: socket.to_owned(), folder: folder.to_owned() }
    }

    /// The same command in another folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        Gapless { folder: folder.to_owned(), ..self.clone() }
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let output = self.command(args).output().expect("gapless can be run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(128);
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it to its end, which must be a good one.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    /// Runs it to its end, and reads what it prints as JSON.
    pub fn json<T: DeserializeOwned, S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> T {
        let ran = self.ok(args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// The newest deployment of the application in its folder.
    ///
    /// # Panics
    /// If there is none, or the server does not tell.
    #[must_use]
    pub fn latest(&self) -> Deployment {
        self.json::<Vec<Deployment>, _>(LATEST).remove(0)
    }

    /// The same, where there need not be one, nor a server that tells.
    #[must_use]
    pub fn latest_if_told(&self) -> Option<Deployment> {
        serde_json::from_str::<Vec<Deployment>>(&self.run(LATEST).stdout).unwrap_or_default().pop()
    }

    /// Begins to run it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gapless can be run")
    }

    /// The command, to be changed before it runs.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.folder).env("GAPLESS_SOCKET", &self.socket).stdin(Stdio::null());
        command
    }
}

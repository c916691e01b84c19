//! `gapless render` under test: a folder of confd with resources and templates.

use crate::cli::{CommandResult, Gapless};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A confd folder, removed when this is dropped.
#[derive(Debug)]
pub struct Confd {
    folder: tempfile::TempDir,
}

impl Default for Confd {
    fn default() -> Self {
        let folder = tempfile::Builder::new().prefix("gapless-render").tempdir().expect("the folder can be created");
        for name in ["conf.d", "templates", "out"] {
            std::fs::create_dir(folder.path().join(name)).expect("the folder can be created");
        }
        Confd { folder }
    }
}

impl Confd {
    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The destination file of the resource with this name.
    #[must_use]
    pub fn dest(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// The content of the destination file, if there is one.
    #[must_use]
    pub fn written(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dest(name)).ok()
    }

    /// Writes a resource and names its template the same; `more` has further lines of the resource.
    pub fn resource(&self, name: &str, keys: &[&str], more: &str) {
        let dest = self.dest(name);
        let text = format!("[template]\nsrc = \"{name}.tmpl\"\ndest = {dest:?}\nkeys = {keys:?}\n{more}\n");
        self.write(&format!("conf.d/{name}.toml"), &text);
    }

    /// Writes a template.
    pub fn template(&self, name: &str, text: &str) {
        self.write(&format!("templates/{name}.tmpl"), text);
    }

    /// Writes a file atomically.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, text).expect("the file can be written");
        std::fs::rename(new, self.path(name)).expect("a file can be renamed");
    }

    /// The command in this folder.
    #[must_use]
    pub fn gapless(&self) -> Gapless {
        Gapless::new(&self.path("gapless.sock"), self.folder.path())
    }

    /// The arguments of `gapless render` for this folder, followed by `more`.
    #[must_use]
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let confdir = self.folder.path().display().to_string();
        let config = self.path("confd.toml").display().to_string();
        let first = ["render", "-confdir", &confdir, "-config-file", &config];
        first.iter().chain(more).map(ToString::to_string).collect()
    }

    /// Runs `gapless render` and waits for its exit.
    #[must_use]
    pub fn render(&self, more: &[&str]) -> CommandResult {
        self.gapless().run(self.arguments(more))
    }

    /// Starts `gapless render`.
    #[must_use]
    pub fn spawn(&self, more: &[&str]) -> Running {
        let mut command = self.gapless().command(self.arguments(more));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("gapless can be run");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (line, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Running { child, lines, seen: Vec::new() }
    }
}

/// A running `gapless render`, killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Waits for a log line that contains this text, after the lines of earlier waits.
    ///
    /// # Panics
    /// If there is no such line within the deadline.
    pub fn wait_for_line(&mut self, text: &str, deadline: Duration) -> String {
        let give_up_at = Instant::now() + deadline;
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("not within {deadline:?}: a line with {text:?} in\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Skips the lines logged until now.
    pub fn forget_lines(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Sends SIGTERM and returns the exit code.
    ///
    /// # Panics
    /// If the process does not run.
    pub fn stop(mut self) -> i32 {
        let id = i32::try_from(self.child.id()).expect("the number is a process id");
        let pid = rustix::process::Pid::from_raw(id).expect("the number is a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process runs");
        self.child.wait().expect("the process can be waited for").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

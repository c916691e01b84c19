//! `gapless render` under test: a folder of confd's with its resources and templates, and the cases of its documented
//! functions.

use crate::cli::{Gapless, Ran};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A folder of confd's, gone when this is.
#[derive(Debug)]
pub struct Confd {
    folder: tempfile::TempDir,
}

impl Default for Confd {
    fn default() -> Self {
        let folder = tempfile::Builder::new().prefix("gapless-render").tempdir().expect("a folder can be made");
        for name in ["conf.d", "templates", "out"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder can be made");
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

    /// Where the resource of that name puts its file.
    #[must_use]
    pub fn dest(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// What the resource's file says; nothing if it is not there.
    #[must_use]
    pub fn written(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dest(name)).ok()
    }

    /// Writes a resource of that name, with a template of that name, and whatever else is to be in it.
    pub fn resource(&self, name: &str, keys: &[&str], more: &str) {
        let dest = self.dest(name);
        let text = format!("[template]\nsrc = \"{name}.tmpl\"\ndest = {dest:?}\nkeys = {keys:?}\n{more}\n");
        self.write(&format!("conf.d/{name}.toml"), &text);
    }

    /// Writes a template.
    pub fn template(&self, name: &str, text: &str) {
        self.write(&format!("templates/{name}.tmpl"), text);
    }

    /// Writes a file, which is there as a whole or not at all.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, text).expect("a file can be written");
        std::fs::rename(new, self.path(name)).expect("a file can be renamed");
    }

    /// The command in this folder.
    #[must_use]
    pub fn gapless(&self) -> Gapless {
        Gapless::new(&self.path("gapless.sock"), self.folder.path())
    }

    /// The arguments of `gapless render` here, with these behind them.
    #[must_use]
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let confdir = self.folder.path().display().to_string();
        let config = self.path("confd.toml").display().to_string();
        let first = ["render", "-confdir", &confdir, "-config-file", &config];
        first.iter().chain(more).map(ToString::to_string).collect()
    }

    /// Runs `gapless render` to its end.
    #[must_use]
    pub fn render(&self, more: &[&str]) -> Ran {
        self.gapless().run(self.arguments(more))
    }

    /// Begins to run `gapless render`.
    #[must_use]
    pub fn begin(&self, more: &[&str]) -> Running {
        let mut command = self.gapless().command(self.arguments(more));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("gapless can be run");
        let stderr = child.stderr.take().expect("it was asked for");
        let (line, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Running { child, lines, seen: Vec::new() }
    }
}

/// `gapless render`, running; ended when this is gone.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Waits for a line of its log that has that text in it, behind those waited for before.
    ///
    /// # Panics
    /// If there is none within the deadline.
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

    /// Passes over what it has said until now.
    pub fn forget_lines(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Asks it to stop, and says how it exits.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(mut self) -> i32 {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("it can be waited for").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

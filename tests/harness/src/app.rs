//! The example application, configured for a test.

use crate::programs::example_program;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A container.
    Docker,
    /// A process.
    Process,
}

/// The example application as a test wants it: writes its `gapless.toml`.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name.
    pub name: String,
    /// What runs it.
    pub runtime: Runtime,
    /// How many replicas.
    pub replicas: u16,
    /// Its hosts; none means all.
    pub hosts: Vec<String>,
    /// How it misbehaves, as the example application reads it.
    pub misbehave: Option<String>,
    /// Further lines of the file's top level.
    pub top: String,
    /// Further lines of `[deploy]`, after the short windows that tests need.
    pub deploy: String,
    /// Further lines at the end: tables.
    pub tables: String,
}

impl App {
    /// A well-behaved one.
    #[must_use]
    pub fn new(name: &str, runtime: Runtime) -> Self {
        App {
            name: name.to_owned(),
            runtime,
            replicas: 1,
            hosts: Vec::new(),
            misbehave: None,
            top: String::new(),
            deploy: "observe = \"1s\"\n".to_owned(),
            tables: String::new(),
        }
    }

    /// The same, misbehaving.
    #[must_use]
    pub fn misbehaving(&self, how: &str) -> Self {
        App { misbehave: Some(how.to_owned()), ..self.clone() }
    }

    /// The text of its `gapless.toml`.
    #[must_use]
    pub fn config(&self, folder: &Path) -> String {
        let mut text = format!("name = \"{}\"\nreplicas = {}\n", self.name, self.replicas);
        let data = folder.join("data");
        match self.runtime {
            Runtime::Docker => {
                let _ =
                    writeln!(text, "image = \"{}\"\nport = 9000\nvolumes = [\"{}:/data\"]", image(), data.display());
            }
            Runtime::Process => {
                let _ = writeln!(text, "command = [\"{}\"]", example_program().display());
            }
        }
        if !self.hosts.is_empty() {
            let _ = writeln!(text, "hosts = {:?}", self.hosts);
        }
        text.push_str(&self.top);
        let _ = writeln!(
            text,
            "[env]\nDATA_DIR = \"{}\"",
            match self.runtime {
                Runtime::Docker => "/data".to_owned(),
                Runtime::Process => data.display().to_string(),
            }
        );
        if let Some(how) = &self.misbehave {
            let _ = writeln!(text, "MISBEHAVE = \"{how}\"");
        }
        let _ = writeln!(text, "[deploy]\n{}", self.deploy);
        text.push_str(&self.tables);
        text
    }

    /// Writes its `gapless.toml` into a folder below `folder`, and returns that.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let folder = folder.join(&self.name);
        std::fs::create_dir_all(folder.join("data")).expect("a folder can be made");
        std::fs::write(folder.join("gapless.toml"), self.config(&folder)).expect("a file can be written");
        folder
    }
}

/// The example application's image, built by `./scripts/test` and `./scripts/demo`.
#[must_use]
pub fn image() -> String {
    std::env::var("BDD_ASSISTANT_IMAGE").unwrap_or_else(|_| "bdd-assistant:latest".to_owned())
}

//! The example application, configured for a test.

use crate::programs::example_program;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The runtime of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A container.
    Docker,
    /// A process.
    Process,
}

/// A configuration of the example application, which writes its `gapless.toml`.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name.
    pub name: String,
    /// The runtime.
    pub runtime: Runtime,
    /// The number of replicas.
    pub replicas: u16,
    /// Its hosts; empty means all hosts.
    pub hosts: Vec<String>,
    /// Its misbehaviour: the value of `MISBEHAVE` of the example application.
    pub misbehave: Option<String>,
    /// Further lines at the top level of the file.
    pub top: String,
    /// Further lines of `[deploy]`; by default a short observation.
    pub deploy: String,
    /// Further tables at the end of the file.
    pub tables: String,
}

impl App {
    /// A well-behaved application.
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

    /// The same application, misbehaving.
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

    /// Writes its `gapless.toml` into a folder below `folder`, and returns that folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let folder = folder.join(&self.name);
        std::fs::create_dir_all(folder.join("data")).expect("the folder can be created");
        std::fs::write(folder.join("gapless.toml"), self.config(&folder)).expect("the file can be written");
        folder
    }
}

/// The image of the example application, built by `./scripts/test` and `./scripts/demo`.
#[must_use]
pub fn image() -> String {
    std::env::var("BDD_ASSISTANT_IMAGE").unwrap_or_else(|_| "bdd-assistant:latest".to_owned())
}

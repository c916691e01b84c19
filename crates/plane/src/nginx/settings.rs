//! The settings of the driver: nginx's files, addresses and container.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The settings of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxConfig {
    /// The folder to which gapless writes one file for each application. nginx must include its `*.conf`.
    pub config_dir: PathBuf,
    /// nginx's program, which tests configurations.
    pub binary: PathBuf,
    /// nginx's main configuration.
    pub config: PathBuf,
    /// The file with the id of nginx's master process.
    pub pid_file: PathBuf,
    /// A loopback address at which gapless's own server in nginx reports the applied configuration.
    pub status: SocketAddr,
    /// The addresses on which nginx serves applications.
    pub listen: Vec<SocketAddr>,
    /// The maximum number of generations of workers that are ending; further reloads wait.
    pub worker_generations_max: usize,
    /// The container in which nginx runs; without it, nginx runs on this host. `binary` and `config` are then paths
    /// inside the container, and `pid_file` is unused.
    pub container: Option<NginxContainer>,
    /// A user's template, which replaces the configuration that gapless generates for an application.
    pub template: Option<PathBuf>,
}

/// The container in which nginx runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxContainer {
    /// The name of the container.
    pub name: String,
    /// The mount point, inside the container, of the folder to which gapless writes.
    pub config_dir: PathBuf,
}

impl NginxConfig {
    /// The folder to which gapless writes, as nginx sees it.
    #[must_use]
    pub fn seen_dir(&self) -> &Path {
        self.container.as_ref().map_or(&self.config_dir, |container| &container.config_dir)
    }

    /// The line that a user adds to `http { }`, once.
    #[must_use]
    pub fn include_line(&self) -> String {
        format!("include {}/*.conf;", self.seen_dir().display())
    }

    /// nginx's main configuration, for people.
    #[must_use]
    pub fn shown_config(&self) -> String {
        match &self.container {
            Some(container) => format!("{} in the container {}", self.config.display(), container.name),
            None => self.config.display().to_string(),
        }
    }
}

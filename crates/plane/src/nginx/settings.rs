//! How the driver is told where nginx is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where nginx is, and what gapless may do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxConfig {
    /// The folder that gapless writes to, one file an application. nginx has to include `*.conf` of it.
    pub config_dir: PathBuf,
    /// nginx's program, which tests configurations.
    pub binary: PathBuf,
    /// nginx's main configuration.
    pub config: PathBuf,
    /// Where nginx writes the id of its master process.
    pub pid_file: PathBuf,
    /// A loopback address that a server of gapless's own answers at: which configuration nginx goes by.
    pub status: SocketAddr,
    /// What applications are served on.
    pub listen: Vec<SocketAddr>,
    /// How many generations of workers may be ending at a time; further reloads wait.
    pub worker_generations_max: usize,
    /// The container that nginx runs in; without it, it runs on this host. `binary` and `config` are in there then, and
    /// `pid_file` is of no use.
    pub container: Option<NginxContainer>,
    /// A template of the user's own, in the stead of what gapless generates for an application.
    pub template: Option<PathBuf>,
}

/// The container that nginx runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxContainer {
    /// Its name.
    pub name: String,
    /// Where the folder that gapless writes to is mounted in it.
    pub config_dir: PathBuf,
}

impl NginxConfig {
    /// The folder that gapless writes to, as nginx sees it.
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

//! How the driver is told where nginx is.

use std::net::SocketAddr;
use std::path::PathBuf;

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
}

impl NginxConfig {
    /// The line that a user adds to `http { }`, once.
    #[must_use]
    pub fn include_line(&self) -> String {
        format!("include {}/*.conf;", self.config_dir.display())
    }
}

//! An nginx with its own folder, configuration and port. It is ended by its process id.

use crate::net::free_port;
use crate::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(15);
/// The default `worker_shutdown_timeout`.
const SHUTDOWN_TIMEOUT: &str = "30s";

/// An nginx with a folder for gapless's files, and another server block beside them.
pub struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    status: SocketAddr,
    other: SocketAddr,
}

impl Nginx {
    /// A running nginx.
    pub fn start() -> Self {
        let nginx = Nginx::prepared();
        nginx.run();
        nginx
    }

    /// An nginx that does not run yet.
    pub fn prepared() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        // Workers run as another user and read pages.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).expect("a folder's mode can be set");
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let nginx = Nginx { folder, address: address(), status: address(), other: address() };
        fs::create_dir(nginx.config_dir()).expect("the folder can be created");
        nginx.configure(true, "");
        nginx
    }

    /// Writes its main configuration, with the line that includes gapless's files or without it.
    pub fn configure(&self, is_included: bool, further: &str) {
        self.write(is_included, further, "", SHUTDOWN_TIMEOUT);
    }

    /// Writes its main configuration, with further lines in `http { }` and this `worker_shutdown_timeout`.
    pub fn configure_http(&self, http: &str, shutdown_timeout: &str) {
        self.write(true, "", http, shutdown_timeout);
    }

    fn write(&self, is_included: bool, further: &str, http: &str, shutdown_timeout: &str) {
        let folder = self.folder.path().display();
        let include =
            if is_included { format!("include {}/*.conf;", self.config_dir().display()) } else { String::new() };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
            .collect();
        let other = self.other;
        let text = format!(
            "worker_processes 2;\nworker_shutdown_timeout {shutdown_timeout};\npid {folder}/nginx.pid;\nerror_log {folder}/error.log info;\n\
             events {{ worker_connections 2048; }}\nhttp {{\n    access_log off;\n{temporary}\
                 server {{ listen {other}; return 200 other; }}\n    {include}\n    {http}\n}}\n{further}\n"
        );
        fs::write(self.config(), text).expect("the file can be written");
    }

    /// Starts it, and waits until it accepts connections.
    pub fn run(&self) {
        let log = self.folder.path().join("start.log");
        let log = fs::File::create(log).expect("the log can be written");
        let status = Command::new("nginx")
            .arg("-c")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .expect("nginx can be run: ./scripts/test installs it");
        assert!(status.success(), "nginx does not start: {}", self.log());
        wait_for("nginx takes connections", DEADLINE, || TcpStream::connect(self.other).ok());
    }

    /// Kills master and workers with SIGKILL.
    pub fn kill(&self) {
        let Some(master) = self.pid() else { return };
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        let workers: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        for pid in std::iter::once(master).chain(workers) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // The process may have exited already.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        wait_for("nginx is gone", DEADLINE, || TcpStream::connect(self.other).is_err().then_some(()));
        fs::remove_file(self.folder.path().join("nginx.pid")).expect("the file can be removed");
    }

    /// Its processes: the master and all workers, old and new.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let Some(master) = self.pid() else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        std::iter::once(master).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// The number of reloads since the start.
    #[must_use]
    pub fn reloads(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("reconfiguring") && !line.contains("SIGHUP")).count()
    }

    /// Its master process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder.path().join("nginx.pid")).ok()?.trim().parse().ok()
    }

    /// The address for gapless's applications.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the other server block.
    #[must_use]
    pub fn other(&self) -> SocketAddr {
        self.other
    }

    /// The folder of gapless's files.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.folder.path().join("gapless.d")
    }

    /// The content of gapless's file with this name.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.config_dir().join(name)).unwrap_or_default()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("nginx.conf")
    }

    /// The text of a `server.toml` for a server that has this nginx as its data plane.
    #[must_use]
    pub fn server_config(&self) -> String {
        let show = |path: &Path| path.display().to_string();
        format!(
            "[proxy]\nkind = \"nginx\"\nconfig_dir = \"{}\"\nconfig = \"{}\"\npid_file = \"{}\"\nstatus = \"{}\"\n\
             listen = [\"{}\"]\n",
            show(&self.config_dir()),
            show(&self.config()),
            show(&self.folder.path().join("nginx.pid")),
            self.status,
            self.address,
        )
    }

    /// Its error log.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}{}", read("start.log"), read("error.log"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("the end of nginx's log, last line first:\n{}", last.join("\n"));
        }
        if self.pid().is_some() {
            self.kill();
        }
    }
}

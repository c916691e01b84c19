//! A gapless server of a test's own, with its state, its socket and its proxy on a free port.

use crate::cli::Gapless;
use crate::net::free_port;
use crate::programs::program;
use crate::wait::wait_for;
use gapless_api::ServerInfo;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The maximum time until a started server answers.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// A host that runs gapless: a folder with its state, and a server that can be killed and started again.
pub struct Host {
    folder: PathBuf,
    listen: SocketAddr,
    /// The binary of the server.
    program: PathBuf,
    /// The command in front of the server's command line, such as `env NAME=value`.
    starter: Vec<String>,
    server: Option<Child>,
    proxy: Option<u32>,
    is_temporary: Option<tempfile::TempDir>,
}

impl Host {
    /// A host in a temporary folder, with its server running; all of it is removed when this is dropped.
    pub fn start() -> Self {
        Host::start_by(&[])
    }

    /// The same, with the server started through a command, such as `env NAME=value`.
    pub fn start_by(starter: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let host = Host::at(folder.path(), SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut host = host.started_by(starter);
        host.is_temporary = Some(folder);
        host.start_server();
        host
    }

    /// A host whose server uses this `server.toml`.
    pub fn start_configured(config: &str) -> Self {
        let mut host = Host::prepared(SocketAddr::from(([127, 0, 0, 1], free_port())));
        host.configure(config);
        host.start_server();
        host
    }

    /// A host in a temporary folder, with no server yet.
    pub fn prepared(listen: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let mut host = Host::at(folder.path(), listen);
        host.is_temporary = Some(folder);
        host
    }

    /// Sets the command through which the server is started.
    pub fn starter(&mut self, starter: &[&str]) {
        self.starter = starter.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Sets the binary of the server: another build of gapless.
    pub fn program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The process id of the server, if it was started and not killed.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Writes the `server.toml` that the next start of the server uses.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.folder.join("server.toml"), config).expect("the file can be written");
    }

    /// A host in this folder, with no server yet.
    #[must_use]
    pub fn at(folder: &Path, listen: SocketAddr) -> Self {
        Host {
            folder: folder.to_owned(),
            listen,
            program: program(),
            starter: Vec::new(),
            server: None,
            proxy: None,
            is_temporary: None,
        }
    }

    /// The same host, with its server started through a command.
    #[must_use]
    pub fn started_by(mut self, starter: &[&str]) -> Self {
        self.starter = starter.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts the server and waits until it answers.
    pub fn start_server(&mut self) {
        self.spawn_server();
        let info = wait_for("the server answers", START_DEADLINE, || {
            if let Some(Ok(Some(status))) = self.server.as_mut().map(Child::try_wait) {
                panic!("the server ended with {status}: {}", self.log());
            }
            let ran = self.gapless().run(["status"]);
            (ran.code == 0).then(|| self.server_info())
        });
        self.proxy = own_proxy(&info);
    }

    /// Starts the server without waiting.
    pub fn spawn_server(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("server.log"));
        let log = log.expect("the log can be written");
        let program = self.program.clone().into_os_string();
        let mut words = self.starter.iter().map(Into::into).chain([program, "server".into()]);
        let mut command = Command::new(words.next().expect("there is a program"));
        let config = self.folder.join("server.toml");
        command
            .args(words)
            .arg("--state-dir")
            .arg(self.folder.join("state"))
            .arg("--socket")
            .arg(self.socket())
            .arg("--listen")
            .arg(self.listen.to_string());
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be opened twice")).stderr(log);
        self.server = Some(command.process_group(0).spawn().expect("gapless can be run"));
    }

    /// The exit code of the server, once it has exited by itself.
    pub fn server_ended(&mut self) -> Option<i32> {
        let status = self.server.as_mut()?.try_wait().expect("the server can be waited for")?;
        self.server = None;
        Some(status.code().unwrap_or(-1))
    }

    /// Sends the server a signal, such as SIGSTOP or SIGCONT.
    pub fn signal_server(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.server.as_ref().expect("the process runs"));
        rustix::process::kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Kills the server with SIGKILL.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("the server can be killed");
            server.wait().expect("the server can be waited for");
        }
    }

    /// Kills the proxy with SIGKILL.
    pub fn kill_proxy(&self) {
        kill(self.server_info().planes[0].pid.expect("the proxy runs"));
    }

    /// Kills the proxy of a server that was killed earlier.
    pub fn kill_proxy_of_killed_server(&mut self) {
        kill(self.proxy.take().expect("the proxy ran"));
    }

    /// Leaves server and proxy running, and returns the server's process id.
    pub fn leave(mut self) -> Option<u32> {
        self.proxy = None;
        self.server.take().map(|server| server.id())
    }

    /// The command line of this host.
    #[must_use]
    pub fn gapless(&self) -> Gapless {
        Gapless::new(&self.socket(), &self.folder)
    }

    /// The address for users' requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The folder of this host.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("gapless.sock")
    }

    /// The server's description of itself.
    #[must_use]
    pub fn server_info(&self) -> ServerInfo {
        let client = gapless_api::Client::new(self.socket());
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
        tokio.block_on(client.server()).expect("the server answers")
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// Removes a host that was left running in `folder`, with the folder; returns whether there was a host.
    pub fn remove_left(folder: &Path) -> bool {
        if !folder.join("state").exists() {
            return false;
        }
        let mut host = Host::at(folder, SocketAddr::from(([127, 0, 0, 1], free_port())));
        if host.gapless().run(["status"]).code != 0 {
            // Its server was killed: a new server takes over its processes.
            host.start_server();
        }
        let info = host.server_info();
        host.proxy = own_proxy(&info);
        host.remove_applications();
        kill(info.pid);
        host.end();
        std::fs::remove_dir_all(folder).expect("the folder can be removed");
        true
    }

    /// Removes all applications with running instances.
    pub fn remove_applications(&self) {
        let gapless = self.gapless();
        let views = gapless.run(["status", "--json"]).stdout;
        let views: Vec<gapless_api::ApplicationView> = serde_json::from_str(&views).unwrap_or_default();
        for view in views.into_iter().filter(|view| !view.slots.is_empty()) {
            let (app, env) = (view.app.to_string(), view.env.to_string());
            gapless.run(["abort", "--app", &app, "--env", &env]);
            gapless.run(["remove", "--yes", "--app", &app, "--env", &env]);
        }
    }

    /// Removes all applications with running instances, and kills server and proxy.
    pub fn end(&mut self) {
        if self.server.is_some() {
            self.remove_applications();
        }
        self.kill_server();
        if let Some(proxy) = self.proxy.take() {
            kill(proxy);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.server.is_some() && self.is_temporary.is_some() {
            if std::thread::panicking() {
                let proxy = std::fs::read_to_string(self.folder.join("state/proxy.log")).unwrap_or_default();
                eprintln!("the server's log:\n{}\nthe proxy's log:\n{proxy}", self.log());
            }
            let pid = own_proxy(&self.server_info());
            self.proxy = pid.or(self.proxy);
            self.end();
        }
    }
}

/// The process id of gapless's own proxy; another data plane does not belong to the host.
fn own_proxy(info: &ServerInfo) -> Option<u32> {
    info.planes.iter().find(|plane| plane.name == "proxy")?.pid
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("the number is a process id");
    // The process may have exited already.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

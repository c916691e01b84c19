//! An etcd for one test: Debian's `etcd-server` on free loopback ports, its data in a temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an etcd may take to start answering.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// An etcd that can be killed, paused and restarted. Dropping it kills it.
pub struct Etcd {
    folder: tempfile::TempDir,
    client: u16,
    peer: u16,
    /// The authority, the certificate and its key, if etcd speaks TLS and requires client certificates.
    tls: Option<[PathBuf; 3]>,
    options: Vec<String>,
    process: Option<Child>,
    /// User and password for `etcdctl`, as `name:password`.
    user: Option<String>,
}

#[allow(dead_code, reason = "not every test that includes this module uses all of it")]
impl Etcd {
    /// Starts an etcd with the default options.
    pub fn start() -> Self {
        Etcd::start_with(&[], None)
    }

    /// Starts an etcd with further options, and with TLS.
    pub fn start_with(options: &[&str], tls: Option<[PathBuf; 3]>) -> Self {
        let mut etcd = Etcd {
            folder: tempfile::tempdir().expect("a temporary folder can be created"),
            client: free_port(),
            peer: free_port(),
            tls,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            process: None,
            user: None,
        };
        etcd.start_again();
        etcd
    }

    /// Starts etcd on its existing data and waits until it answers.
    pub fn start_again(&mut self) {
        let (endpoint, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer));
        let log =
            std::fs::File::options().create(true).append(true).open(self.log_file()).expect("a log can be written");
        let mut command = Command::new("etcd");
        command
            .args(["--name", "test", "--log-level", "warn", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(&self.options)
            .env_remove("ETCD_UNSUPPORTED_ARCH")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log);
        if let Some([ca, certificate, key]) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
        }
        self.process = Some(command.spawn().expect("etcd can be run: install etcd-server"));
        let give_up_at = Instant::now() + START_DEADLINE;
        while !self.answers() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            assert!(ended.is_none(), "etcd ended with {ended:?}: {}", self.log());
            assert!(Instant::now() < give_up_at, "etcd does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let ran = self.etcdctl_command(&["get", "x"]).stderr(Stdio::null()).stdout(Stdio::null()).status();
        ran.expect("etcdctl can be run: install etcd-client").success()
    }

    /// The client URL.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls.is_some() { "https" } else { "http" }, self.client)
    }

    /// Runs `etcdctl`, which must succeed, and returns its output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl_command(arguments).output().expect("etcdctl can be run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("etcdctl prints text")
    }

    /// Makes later calls of `etcdctl` log in as `user`.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.user = Some(format!("{user}:{password}"));
    }

    fn etcdctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoint()).args(["--command-timeout", "2s"]);
        if let Some([ca, certificate, key]) = &self.tls {
            command.arg("--cacert").arg(ca).arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if let Some(user) = &self.user {
            command.arg("--user").arg(user);
        }
        command.args(arguments);
        command
    }

    /// Kills etcd with SIGKILL; its data stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("etcd can be killed");
            process.wait().expect("etcd can be waited for");
        }
    }

    /// Pauses etcd: connections are accepted and nothing is answered.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Resumes a paused etcd.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().expect("etcd runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).expect("it can be signalled");
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("etcd.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The folder of etcd's data and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("the listener has an address").port()
}

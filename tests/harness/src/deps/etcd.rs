//! A real etcd of the test's own: Debian's, on free ports of the loopback interface, with its data in a folder of its own.

use crate::net::free_port;
use crate::wait::wait_for;
#[cfg(feature = "etcd-api")]
use etcd_client::{Client, ConnectOptions};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// An etcd; ended when this is gone.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    scheme: &'static str,
    arguments: Vec<String>,
}

impl Etcd {
    /// Starts one, and waits until it listens.
    #[must_use]
    pub fn start() -> Etcd {
        Etcd::start_with("http", &[])
    }

    /// The same with TLS: its certificate and key, and the authority that clients' certificates are to be of.
    #[must_use]
    pub fn start_with_tls(certificate: &Path, key: &Path, authority: &Path) -> Etcd {
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let more = [
            flag("cert-file", certificate),
            flag("key-file", key),
            flag("trusted-ca-file", authority),
            "--client-cert-auth".into(),
        ];
        Etcd::start_with("https", &more)
    }

    fn start_with(scheme: &'static str, more: &[String]) -> Etcd {
        let folder = tempfile::Builder::new().prefix("gapless-etcd").tempdir().expect("a folder can be made");
        let (port, peer) = (free_port(), free_port());
        let client = format!("{scheme}://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut arguments = vec![
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        arguments.extend(more.iter().cloned());
        let child = spawn(&arguments, folder.path());
        let etcd = Etcd { child, port, folder, scheme, arguments };
        etcd.wait();
        etcd
    }

    fn wait(&self) {
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        wait_for("etcd is ready to serve", DEADLINE, || {
            let listens = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            (listens && log().contains("ready to serve client requests")).then_some(())
        });
    }

    /// Its address, as a flag takes it.
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with the data that it had.
    pub fn start_again(&mut self) {
        self.kill();
        std::fs::remove_file(self.folder.path().join("log")).expect("there is a log");
        self.child = spawn(&self.arguments, self.folder.path());
        self.wait();
    }
}

#[cfg(feature = "etcd-api")]
impl Etcd {
    /// A client of it, and what runs it.
    #[must_use]
    pub fn client(&self, options: Option<ConnectOptions>) -> (tokio::runtime::Runtime, Client) {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let tokio = tokio.expect("tokio can be set up");
        let client = tokio.block_on(Client::connect([self.node()], options)).expect("etcd answers");
        (tokio, client)
    }

    /// Sets keys.
    pub fn put(&self, pairs: &[(&str, &str)]) {
        let (tokio, mut client) = self.client(None);
        for (key, value) in pairs {
            tokio.block_on(client.put(*key, *value, None)).expect("etcd takes it");
        }
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        let (tokio, mut client) = self.client(None);
        tokio.block_on(client.delete(key, None)).expect("etcd takes it");
    }
}

fn spawn(arguments: &[String], folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a file can be made");
    Command::new("etcd")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("etcd is installed: ./scripts/test does it")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

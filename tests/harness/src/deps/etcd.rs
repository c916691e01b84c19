//! A real etcd: the installed package, on free ports of the loopback interface, with its data in a temporary folder.

use crate::net::free_port;
use crate::wait::wait_for;
#[cfg(feature = "etcd-api")]
use etcd_client::{Client, ConnectOptions};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// An etcd, killed when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    scheme: &'static str,
    arguments: Vec<String>,
}

impl Etcd {
    /// Starts an etcd and waits until it serves.
    #[must_use]
    pub fn start() -> Etcd {
        Etcd::start_with("http", &[])
    }

    /// The same with TLS: its certificate and key, and the authority that must have signed the clients' certificates.
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
        let folder = tempfile::Builder::new().prefix("gapless-etcd").tempdir().expect("the folder can be created");
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

    /// Its endpoint, as an option of gapless takes it.
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its data.
    pub fn restart(&mut self) {
        self.kill();
        std::fs::remove_file(self.folder.path().join("log")).expect("there is a log");
        self.child = spawn(&self.arguments, self.folder.path());
        self.wait();
    }
}

#[cfg(feature = "etcd-api")]
impl Etcd {
    /// A client, and the tokio runtime of the client.
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
            tokio.block_on(client.put(*key, *value, None)).expect("etcd accepts the write");
        }
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        let (tokio, mut client) = self.client(None);
        tokio.block_on(client.delete(key, None)).expect("etcd accepts the write");
    }
}

fn spawn(arguments: &[String], folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("the file can be created");
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

//! Keeps the builtin proxy running: adopts a running proxy or starts one, and restarts it after its death. Owns the
//! listening sockets too, so that connections wait in them while there is no proxy. If something else runs the proxy,
//! such as systemd, does none of this.

use gapless_api::PlaneInfo;
use gapless_effect::{Point, step_async};
use gapless_proxy::control::{Client, ProxyStatus};
use gapless_proxy::handover;
use std::convert::identity;
use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long a started proxy may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(2);
/// The wait before the next attempt to start a proxy.
const START_RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often the supervisor checks that the same proxy answers.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a process is checked if it cannot be watched by a pidfd.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The proxy cannot listen on an address.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason, and what to do.
        why: String,
    },
    /// The proxy does not start.
    #[error("the proxy does not start: {why}; its output is in {}", log.display())]
    Start {
        /// The observed failure.
        why: String,
        /// The proxy's log file.
        log: PathBuf,
    },
}

/// The proxy process: how it is started, and its files and addresses.
#[derive(Debug, Clone)]
pub struct ProxyProcess {
    /// The program and arguments that run a proxy; the supervisor appends options.
    pub command: Vec<PathBuf>,
    /// True if the server starts the proxy and owns its listening sockets. Otherwise something else does, such as
    /// systemd.
    pub is_own: bool,
    /// The control socket.
    pub control_socket: PathBuf,
    /// The file in which the proxy keeps its last good table.
    pub table_file: PathBuf,
    /// The file that receives the proxy's output.
    pub log: PathBuf,
    /// The addresses on which the proxy listens.
    pub listen: Vec<SocketAddr>,
}

/// Keeps the proxy running.
pub struct Supervisor {
    process: ProxyProcess,
    client: Client,
    sockets: Mutex<Vec<Arc<TcpListener>>>,
}

impl Supervisor {
    /// Adopts the running proxy, or starts one. A started proxy serves its last good table at once.
    ///
    /// # Errors
    /// If an address is unusable, or the proxy does not start.
    pub async fn start(process: ProxyProcess) -> Result<Arc<Self>, SupervisorError> {
        let client = Client::new(&process.control_socket);
        let supervisor = Arc::new(Supervisor { process, client, sockets: Mutex::default() });
        if !supervisor.process.is_own {
            return Ok(supervisor);
        }
        if supervisor.client.status().await.is_ok() {
            let taken = supervisor.handover(|socket| handover::take(&socket)).await;
            match taken {
                Ok(sockets) => supervisor.add_sockets(sockets),
                Err(error) => tracing::warn!("cannot take over the listening sockets of the running proxy: {error}"),
            }
            tracing::info!("adopted the running proxy");
        }
        supervisor.listen()?;
        supervisor.ensure().await?;
        Ok(supervisor)
    }

    /// A supervisor that starts nothing and owns no socket: for a server that only reads.
    #[must_use]
    pub fn idle(process: ProxyProcess) -> Arc<Self> {
        let client = Client::new(&process.control_socket);
        Arc::new(Supervisor { process, client, sockets: Mutex::default() })
    }

    /// The control socket of the proxy.
    pub(super) fn control_socket(&self) -> &Path {
        &self.process.control_socket
    }

    /// Restarts the proxy after each death, without end.
    pub async fn run(self: Arc<Self>) {
        if !self.process.is_own {
            // The program that runs the proxy restarts it, and owns its sockets.
            return;
        }
        loop {
            match self.client.status().await {
                // An earlier attempt started the proxy, and failed before it passed the sockets.
                Ok(status) if self.lacks_sockets(&status) => {
                    tracing::warn!("the proxy has no listening sockets yet; passing them");
                }
                Ok(status) => {
                    // A proxy that is replaced ends later than its successor answers.
                    let ended = tokio::time::timeout(CHECK_EVERY, wait_for_end(status.pid)).await;
                    if ended.is_err() || self.is_replaced(status.pid).await {
                        continue;
                    }
                    tracing::error!(pid = status.pid, "the proxy died; restarting it");
                }
                Err(error) => tracing::warn!("no proxy answers: {error}; starting one"),
            }
            if let Err(error) = self.ensure().await {
                tracing::error!("{error}; retrying");
                tokio::time::sleep(START_RETRY_AFTER).await;
            }
        }
    }

    /// Describes the proxy for the API.
    pub(super) async fn info(&self) -> PlaneInfo {
        let status = self.client.status().await.ok();
        let own = || self.sockets().iter().filter_map(|socket| socket.local_addr().ok()).collect();
        PlaneInfo {
            name: "proxy".to_owned(),
            pid: status.as_ref().map(|status| status.pid),
            is_up: status.is_some(),
            listen: status.map_or_else(own, |status| status.listen),
        }
    }

    /// Checks that the proxy answers.
    pub(super) async fn check(&self) -> Result<String, String> {
        let proxy = self.info().await;
        let listen: Vec<_> = proxy.listen.iter().map(ToString::to_string).collect();
        match (proxy.is_up, proxy.pid) {
            (true, Some(pid)) => Ok(format!("process {pid} listens on {}", listen.join(", "))),
            _ => Err("the proxy does not answer; the server restarts it, see its log in the state folder".to_owned()),
        }
    }

    /// True if the proxy does not listen on a socket that this supervisor owns.
    fn lacks_sockets(&self, status: &ProxyStatus) -> bool {
        let mut own = self.sockets().into_iter().filter_map(|socket| socket.local_addr().ok());
        !status.stopping && own.any(|address| !status.listen.contains(&address))
    }

    /// True if another process than `pid` answers.
    async fn is_replaced(&self, pid: u32) -> bool {
        self.client.status().await.is_ok_and(|status| status.pid != pid)
    }

    /// Opens the sockets of the configured addresses, except for those that exist already.
    fn listen(&self) -> Result<(), SupervisorError> {
        let open: Vec<_> = self.sockets().iter().filter_map(|socket| socket.local_addr().ok()).collect();
        for address in self.process.listen.iter().filter(|address| !open.contains(address)) {
            let socket = handover::bind(*address)
                .map_err(|error| SupervisorError::Listen { address: *address, why: explain(&error, *address) })?;
            self.add_sockets(vec![socket]);
        }
        Ok(())
    }

    /// Starts a proxy if none answers, and passes it the sockets.
    async fn ensure(&self) -> Result<(), SupervisorError> {
        if self.client.status().await.is_err() {
            let started = step_async(Point::ProxyStart, identity, async { self.spawn() }).await;
            let child = started.map_err(|error| self.cannot_start(error.to_string()))?;
            self.wait_until_it_answers(child).await?;
        }
        let sockets = self.sockets().iter().map(|socket| socket.try_clone()).collect::<io::Result<Vec<_>>>();
        let given = match sockets {
            Ok(sockets) => {
                let give = self.handover(move |socket| handover::give(&socket, &sockets));
                step_async(Point::ProxyGive, identity, give).await
            }
            Err(error) => Err(error),
        };
        given.map_err(|error| self.cannot_start(format!("it did not receive its listening sockets: {error}")))
    }

    fn spawn(&self) -> io::Result<Child> {
        let ProxyProcess { command, control_socket, table_file, log, .. } = &self.process;
        let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("no program is configured"))?;
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // In a process group of its own, so that a Ctrl-C for the server does not reach it.
        Command::new(program)
            .args(arguments)
            .arg("--control-socket")
            .arg(control_socket)
            .arg("--table-file")
            .arg(table_file)
            // Refuses huge pages where the kernel gives them to every process: they would be half of its memory at
            // rest.
            .env("MIMALLOC_ALLOW_THP", "0")
            // Only the server notifies systemd.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
    }

    async fn wait_until_it_answers(&self, mut child: Child) -> Result<(), SupervisorError> {
        let give_up_at = tokio::time::Instant::now() + START_DEADLINE;
        while self.client.status().await.is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.cannot_start(format!("it ended with {status}")));
            }
            if tokio::time::Instant::now() >= give_up_at {
                return Err(self.cannot_start(format!("it did not answer within {} s", START_DEADLINE.as_secs())));
            }
            tokio::time::sleep(START_POLL).await;
        }
        // Reaps the process when it dies. After a restart of the server, the process is not a child of the server.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }

    async fn handover<T: Send + 'static>(
        &self,
        exchange: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let socket = self.process.control_socket.clone();
        tokio::task::spawn_blocking(move || exchange(socket)).await.map_err(io::Error::other)?
    }

    fn cannot_start(&self, why: String) -> SupervisorError {
        SupervisorError::Start { why, log: self.process.log.clone() }
    }

    fn add_sockets(&self, sockets: Vec<TcpListener>) {
        let mut own = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        own.extend(sockets.into_iter().map(Arc::new));
    }

    fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits until the process has ended.
async fn wait_for_end(pid: u32) {
    let opened = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok());
    if let Some(pidfd) = opened
        && gapless_runtime::ended(pidfd).await.is_ok()
    {
        return;
    }
    while Path::new(&format!("/proc/{pid}")).exists() {
        tokio::time::sleep(POLL_EVERY).await;
    }
}

fn explain(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match gapless_runtime::port_owner(address.port()) {
            Some(owner) => format!("{owner} listens there already; stop it, or choose another --listen"),
            None => "something listens there already; stop it, or choose another --listen".to_owned(),
        },
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another --listen, such as 0.0.0.0:8080"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

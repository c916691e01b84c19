//! Keeps the builtin proxy running: starts it if none answers, adopts it if one does, starts it again if it dies. The
//! listening sockets are held here, too, so that connections wait in them while there is no proxy. Where something else
//! runs the proxy, such as systemd, all of that is left to it.

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

/// How long a started proxy has until it answers.
const START_DEADLINE: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(2);
/// How soon a proxy that cannot be started is started again.
const START_RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often is looked whether the same proxy answers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a proxy of which the process cannot be watched is asked.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Why the proxy cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why, and what to do.
        why: String,
    },
    /// The proxy does not start.
    #[error("the proxy does not start: {why}; its output is in {}", log.display())]
    Start {
        /// What was seen.
        why: String,
        /// Its log.
        log: PathBuf,
    },
}

/// How the proxy is started.
#[derive(Debug, Clone)]
pub struct ProxyProcess {
    /// The program and arguments that run a proxy; what follows is added.
    pub command: Vec<PathBuf>,
    /// Whether the server starts it, and holds its listening sockets. Otherwise something else does, such as systemd.
    pub is_own: bool,
    /// Its control socket.
    pub control_socket: PathBuf,
    /// Where it keeps its last good table.
    pub table_file: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// What it listens on.
    pub listen: Vec<SocketAddr>,
}

/// Keeps the proxy running.
pub struct Supervisor {
    process: ProxyProcess,
    client: Client,
    sockets: Mutex<Vec<Arc<TcpListener>>>,
}

impl Supervisor {
    /// Adopts the proxy that runs, or starts one. It serves by its last good table at once, whatever comes next.
    ///
    /// # Errors
    /// If an address cannot be listened on, or the proxy does not start.
    pub async fn start(process: ProxyProcess) -> Result<Arc<Self>, SupervisorError> {
        let client = Client::new(&process.control_socket);
        let supervisor = Arc::new(Supervisor { process, client, sockets: Mutex::default() });
        if !supervisor.process.is_own {
            return Ok(supervisor);
        }
        if supervisor.client.status().await.is_ok() {
            let taken = supervisor.handover(|socket| handover::take(&socket)).await;
            match taken {
                Ok(sockets) => supervisor.hold(sockets),
                Err(error) => tracing::warn!(%error, "the running proxy's listening sockets could not be taken over"),
            }
            tracing::info!("adopted the proxy that runs");
        }
        supervisor.listen()?;
        supervisor.ensure().await?;
        Ok(supervisor)
    }

    /// One that starts nothing and holds nothing: for a server that only looks.
    #[must_use]
    pub fn idle(process: ProxyProcess) -> Arc<Self> {
        let client = Client::new(&process.control_socket);
        Arc::new(Supervisor { process, client, sockets: Mutex::default() })
    }

    /// The control socket of the proxy.
    pub(super) fn control_socket(&self) -> &Path {
        &self.process.control_socket
    }

    /// Starts the proxy again whenever it dies, for ever.
    pub async fn run(self: Arc<Self>) {
        if !self.process.is_own {
            // Who runs it starts it again, and holds its sockets.
            return;
        }
        loop {
            match self.client.status().await {
                // It was started, and then something failed before it had them.
                Ok(status) if self.lacks_sockets(&status) => tracing::warn!("the proxy has no listening sockets yet"),
                Ok(status) => {
                    // One that is replaced ends later than another one answers.
                    let ended = tokio::time::timeout(LOOK_EVERY, wait_for_end(status.pid)).await;
                    if ended.is_err() || self.is_replaced(status.pid).await {
                        continue;
                    }
                    tracing::error!(pid = status.pid, "the proxy died; starting it again");
                }
                Err(error) => tracing::warn!(%error, "no proxy answers"),
            }
            if let Err(error) = self.ensure().await {
                tracing::error!(%error, "trying again");
                tokio::time::sleep(START_RETRY_AFTER).await;
            }
        }
    }

    /// The proxy as it is.
    pub(super) async fn info(&self) -> PlaneInfo {
        let status = self.client.status().await.ok();
        let held = || self.held().iter().filter_map(|socket| socket.local_addr().ok()).collect();
        PlaneInfo {
            name: "proxy".to_owned(),
            pid: status.as_ref().map(|status| status.pid),
            is_up: status.is_some(),
            listen: status.map_or_else(held, |status| status.listen),
        }
    }

    /// Whether it answers.
    pub(super) async fn check(&self) -> Result<String, String> {
        let proxy = self.info().await;
        let listen: Vec<_> = proxy.listen.iter().map(ToString::to_string).collect();
        match (proxy.is_up, proxy.pid) {
            (true, Some(pid)) => Ok(format!("process {pid} listens on {}", listen.join(", "))),
            _ => {
                Err("the proxy does not answer; the server starts it again, see its log in the state folder".to_owned())
            }
        }
    }

    /// Whether it does not listen on what is held for it.
    fn lacks_sockets(&self, status: &ProxyStatus) -> bool {
        let mut held = self.held().into_iter().filter_map(|socket| socket.local_addr().ok());
        !status.stopping && held.any(|address| !status.listen.contains(&address))
    }

    /// Whether another process than that one answers.
    async fn is_replaced(&self, pid: u32) -> bool {
        self.client.status().await.is_ok_and(|status| status.pid != pid)
    }

    /// Opens those of the wanted addresses that are not held yet.
    fn listen(&self) -> Result<(), SupervisorError> {
        let held: Vec<_> = self.held().iter().filter_map(|socket| socket.local_addr().ok()).collect();
        for address in self.process.listen.iter().filter(|address| !held.contains(address)) {
            let socket = handover::bind(*address)
                .map_err(|error| SupervisorError::Listen { address: *address, why: explain(&error, *address) })?;
            self.hold(vec![socket]);
        }
        Ok(())
    }

    /// Sees to it that a proxy answers and has the sockets.
    async fn ensure(&self) -> Result<(), SupervisorError> {
        if self.client.status().await.is_err() {
            let started = step_async(Point::ProxyStart, identity, async { self.spawn() }).await;
            let child = started.map_err(|error| self.cannot_start(error.to_string()))?;
            self.wait_until_it_answers(child).await?;
        }
        let sockets = self.held().iter().map(|socket| socket.try_clone()).collect::<io::Result<Vec<_>>>();
        let given = match sockets {
            Ok(sockets) => {
                let give = self.handover(move |socket| handover::give(&socket, &sockets));
                step_async(Point::ProxyGive, identity, give).await
            }
            Err(error) => Err(error),
        };
        given.map_err(|error| self.cannot_start(format!("it does not take its listening sockets: {error}")))
    }

    fn spawn(&self) -> io::Result<Child> {
        let ProxyProcess { command, control_socket, table_file, log, .. } = &self.process;
        let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("no program is configured"))?;
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // In a group of its own, so that a Ctrl-C for the server does not reach it.
        Command::new(program)
            .args(arguments)
            .arg("--control-socket")
            .arg(control_socket)
            .arg("--table-file")
            .arg(table_file)
            // Where the kernel gives huge pages to everybody it refuses them: they are half of its memory at rest.
            .env("MIMALLOC_ALLOW_THP", "0")
            // What systemd is told is for the server to say.
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
                return Err(self.cannot_start(format!("it does not answer within {} s", START_DEADLINE.as_secs())));
            }
            tokio::time::sleep(START_POLL).await;
        }
        // Reaped when it dies; it is no child of the next server.
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

    fn hold(&self, sockets: Vec<TcpListener>) {
        let mut held = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(sockets.into_iter().map(Arc::new));
    }

    fn held(&self) -> Vec<Arc<TcpListener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits until that process has ended.
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
            Some(holder) => format!("{holder} listens there already; stop it, or choose another --listen"),
            None => "something listens there already; stop it, or choose another --listen".to_owned(),
        },
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another --listen, such as 0.0.0.0:8080"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

//! The process of a data plane: what it is started with, and its start and end.

use crate::plane::{Persisted, Plane};
use crate::predecessor::{self, Predecessor};
use crate::table_file::{self, Loaded};
use crate::worker::{self, Order};
use crate::{Limits, control, handover};
use gapless_core::routes::RouteTable;
use gapless_effect::{Point, step};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Descriptors that the process needs for itself: its sockets, files and logs; and each of its threads.
const OWN_FILES: usize = 16;
const OWN_FILES_OF_A_WORKER: usize = 8;

/// What a data plane is started with.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The addresses to listen on. May be empty: then the sockets come by [`crate::handover`].
    pub listen: Vec<SocketAddr>,
    /// Listening sockets that who started it holds and passed on, such as systemd.
    pub inherited: Vec<Arc<TcpListener>>,
    /// The Unix socket that it is controlled by. The one for handovers stands beside it, with `.fds` behind its name.
    pub control_socket: PathBuf,
    /// Where the last good table is kept.
    pub table_file: PathBuf,
    /// Threads that carry requests; at least one.
    pub workers: usize,
    /// Whether a data plane that answers at the control socket is replaced: its listening sockets are taken over and it
    /// is told to stop. Otherwise that is an error.
    pub replace: bool,
    /// What clients may make it hold.
    pub limits: Limits,
}

/// Why a data plane did not start, or ended otherwise than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another data plane answers at the control socket.
    #[error("another data plane answers at {}; stop it first, or replace it with `gapless upgrade`", socket.display())]
    AlreadyRunning {
        /// The control socket.
        socket: PathBuf,
    },
    /// A Unix socket cannot be created.
    #[error("cannot create the socket {}: {source}", socket.display())]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The table file cannot be read, though it is there.
    #[error("cannot read the table {}: {source}", file.display())]
    TableFile {
        /// Its path.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused threads or the like.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs a data plane until it is told to stop by SIGTERM, SIGINT or over its control socket. SIGUSR2, as with nginx, has
/// it start `successor`, which is to take its place ([`ProxyConfig::replace`]). Makes the process the leader of a session
/// of its own, so that it outlives who started it.
///
/// # Errors
/// Where it cannot start.
pub fn run(config: ProxyConfig, mut successor: Command) -> Result<(), ProxyError> {
    // Fails where it is the leader of one already.
    let _ = rustix::process::setsid();
    serve(config, async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::user_defined2()].map(signal);
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut upgrade)] = kinds else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = upgrade.recv() => begin(&mut successor),
            }
        }
    })
}

/// Starts a successor. Where it cannot take this one's place, this one goes on.
fn begin(successor: &mut Command) {
    let mut child = match step(Point::ProxySuccessor, || successor.spawn()) {
        Ok(child) => child,
        Err(error) => return tracing::error!(%error, "upgrade: cannot start a successor; keeping this proxy"),
    };
    tracing::info!(pid = child.id(), "upgrade: successor started");
    let reap = move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!(%status, "upgrade: the successor ended; keeping this proxy"),
        Err(error) => tracing::warn!(%error, "upgrade: cannot wait for the successor"),
    };
    if let Err(error) = thread::Builder::new().name("successor".to_owned()).spawn(reap) {
        tracing::warn!(%error, "upgrade: cannot wait for the successor");
    }
}

/// Runs a data plane until `stop` is ready, or it is told to stop over its control socket. Leaves the process as it
/// is, but for its limit of open files.
///
/// # Errors
/// Where it cannot start.
pub fn serve(config: ProxyConfig, stop: impl Future<Output = ()>) -> Result<(), ProxyError> {
    let alone = begin_alone(&config.control_socket);
    let workers = config.workers.max(1);
    let limits = within_files(config.limits.clone(), raise_file_limit(), workers);
    let predecessor = Predecessor::find(&config)?;
    let (plane, orders) = Plane::new(limits, workers);
    let table = load_table(&config.table_file)?;
    let listeners = listeners(&config, predecessor.as_ref())?;
    let cores = start_cores(&plane, orders)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ProxyError::Start)?;
    let result = runtime.block_on(async {
        tokio::spawn(persist(Arc::clone(&plane), config.table_file.clone()));
        if let Some(table) = table {
            // The first change is the one that is there.
            plane.persisted.send_replace(Persisted { version: table.version, change: 1, tried: 1, error: None });
            // Nothing is newer than the first one.
            let _ = plane.put(&table).await;
        }
        // Whoever asks from now on waits for this one's answer, and gets it once it listens.
        if let Some(predecessor) = predecessor {
            predecessor.put_aside(&config.control_socket).await?;
        }
        let sockets = Sockets::bind(&config.control_socket)?;
        // From here on another one finds this one.
        drop(alone);
        predecessor::follow_all(&plane, &config.control_socket).await;
        for listener in listeners {
            plane.listen(listener).map_err(ProxyError::Start)?;
        }
        sockets.serve(&plane);
        let own = inode(&config.control_socket);
        tokio::spawn(keep_sockets(Arc::clone(&plane), config.control_socket.clone(), own));
        let mut stopping = plane.stopping.subscribe();
        tokio::select! {
            () = stop => plane.stop(),
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        // Status is answered until the last request has been finished.
        let ended = async {
            while cores.iter().any(|core| !core.is_finished()) {
                tokio::time::sleep(END_POLL).await;
            }
        };
        ended.await;
        Ok(())
    });
    if result.is_err() {
        plane.stop();
    }
    for core in cores {
        // A core that panicked has said so.
        let _ = core.join();
    }
    runtime.shutdown_background();
    result
}

/// How often a stopping data plane looks whether its cores have ended.
const END_POLL: Duration = Duration::from_millis(10);

/// How long a table that could not be written waits for the next attempt.
const PERSIST_PAUSE: Duration = Duration::from_secs(2);

fn load_table(file: &Path) -> Result<Option<RouteTable>, ProxyError> {
    let loaded = table_file::load(file);
    match loaded.map_err(|source| ProxyError::TableFile { file: file.to_owned(), source })? {
        Loaded::Table(table) => Ok(Some(*table)),
        Loaded::Missing => Ok(None),
        Loaded::Corrupt { aside, reason } => {
            tracing::error!(%reason, aside = %aside.display(), "route table on disk is damaged: set aside; starting without routes");
            Ok(None)
        }
    }
}

fn listeners(config: &ProxyConfig, predecessor: Option<&Predecessor>) -> Result<Vec<TcpListener>, ProxyError> {
    let mut listeners = predecessor.map_or(Ok(Vec::new()), Predecessor::listeners)?;
    for listener in &config.inherited {
        listeners.push(handover::inherited(listener).map_err(ProxyError::Start)?);
    }
    let taken: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    for address in config.listen.iter().copied().filter(|address| !taken.contains(address)) {
        listeners.push(handover::bind(address).map_err(|source| ProxyError::Listen { address, source })?);
    }
    Ok(listeners)
}

fn start_cores(
    plane: &Arc<Plane>,
    orders: Vec<mpsc::UnboundedReceiver<Order>>,
) -> Result<Vec<JoinHandle<()>>, ProxyError> {
    let start = |(index, orders)| {
        let plane = Arc::clone(plane);
        thread::Builder::new().name(format!("core-{index}")).spawn(move || {
            if let Err(error) = worker::run(index, &plane, orders) {
                tracing::error!(%error, "worker cannot start");
            }
        })
    };
    orders.into_iter().enumerate().map(start).collect::<io::Result<_>>().map_err(ProxyError::Start)
}

/// Puts each new table on disk; several that come while one is being written are one.
async fn persist(plane: Arc<Plane>, file: PathBuf) {
    let mut applied = plane.changed.subscribe();
    loop {
        applied.borrow_and_update();
        let change = plane.changes();
        let routes = plane.routes.load_full();
        let persisted = plane.persisted.borrow().clone();
        if plane.has_yielded.load(Ordering::Acquire) {
            // The file is the other one's by now.
            plane.persisted.send_replace(Persisted { version: routes.version, change, tried: change, error: None });
        } else if change > persisted.change {
            let (table, file) = (Arc::clone(&routes), file.clone());
            let written = tokio::task::spawn_blocking(move || table_file::store(&file, table.to_json())).await;
            let error = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = &error {
                tracing::error!(%error, version = routes.version, "route table cannot be written to disk; serving it from memory");
            }
            let (version, there) =
                if error.is_none() { (routes.version, change) } else { (persisted.version, persisted.change) };
            plane.persisted.send_replace(Persisted { version, change: there, tried: change, error });
        }
        let is_behind = plane.persisted.borrow().error.is_some();
        let changed = applied.changed();
        if is_behind {
            let _ = tokio::time::timeout(PERSIST_PAUSE, changed).await;
        } else if changed.await.is_err() {
            return;
        }
    }
}

/// Where it is asked.
struct Sockets {
    control: UnixListener,
    handover: UnixListener,
}

impl Sockets {
    fn bind(control_socket: &Path) -> Result<Self, ProxyError> {
        let control = bind_unix(control_socket)?;
        Ok(Sockets { control, handover: bind_unix(&handover::socket_path(control_socket))? })
    }

    fn serve(self, plane: &Arc<Plane>) {
        tokio::spawn(handover::serve(self.handover, Arc::clone(plane)));
        tokio::spawn(control::server::serve(self.control, Arc::clone(plane)));
    }
}

/// How long one that begins waits for another one that does, before it goes on beside it.
const BEGIN_ALONE_WITHIN: Duration = Duration::from_secs(3);

/// Held while a data plane begins: of two that began at once, such as a successor and the one that the server starts in the
/// place of a predecessor that has died, each would find nobody, and both would take the place.
fn begin_alone(control_socket: &Path) -> Option<File> {
    let folder = match control_socket.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).ok()?;
    let give_up_at = Instant::now() + BEGIN_ALONE_WITHIN;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < give_up_at => thread::sleep(END_POLL),
            Err(error) => {
                tracing::warn!(%error, "startup lock held by another proxy for 3 s; starting anyway");
                return None;
            }
        }
    }
}

/// How often is looked whether somebody answers at the control socket.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// In how many looks in a row another data plane has to answer there that has not said that it takes this one's place.
/// One that does says so well before.
const DISPLACED_LOOKS: u32 = 8;

/// Sees to it that somebody answers at the control socket for as long as nobody has taken this data plane's place. One that
/// was killed while it took it, or somebody who removed the file, leaves a place at which nobody does. And where two have
/// it, this one ends if it is the one that is not told of any table: the other one gets its listening sockets.
async fn keep_sockets(plane: Arc<Plane>, control_socket: PathBuf, mut own: Option<u64>) {
    let there = control::Client::new(&control_socket);
    let mut displaced = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if plane.has_yielded.load(Ordering::Acquire) {
            return;
        }
        if inode(&control_socket) == own {
            displaced = 0;
        } else if predecessor::is_gone(&control_socket) {
            match Sockets::bind(&control_socket) {
                Ok(sockets) => {
                    tracing::warn!("control socket had no owner: opened again");
                    sockets.serve(&plane);
                    own = inode(&control_socket);
                }
                Err(error) => tracing::error!(%error, "control socket has no owner and cannot be opened; retrying"),
            }
        } else {
            let is_another = there.status().await.is_ok_and(|there| !plane.is_that_of(&there));
            displaced = if is_another { displaced + 1 } else { 0 };
        }
        if displaced >= DISPLACED_LOOKS && !plane.has_yielded.load(Ordering::Acquire) {
            displaced = 0;
            match give_sockets(&plane, &control_socket).await {
                Ok(()) => {
                    tracing::error!("displaced by another proxy: handing over the listening sockets; ending");
                    return plane.stop();
                }
                Err(error) => {
                    tracing::error!(%error, "displaced by another proxy: cannot hand over the listening sockets; retrying")
                }
            }
        }
    }
}

/// Gives the listening sockets to the data plane that answers at the control socket.
async fn give_sockets(plane: &Arc<Plane>, control_socket: &Path) -> io::Result<()> {
    let (plane, to) = (Arc::clone(plane), control_socket.to_owned());
    let giving = tokio::task::spawn_blocking(move || handover::give(&to, &plane.listeners()?));
    giving.await.map_err(io::Error::other)?
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// A Unix socket for this user only, at a path where a dead process may have left one.
fn bind_unix(path: &Path) -> Result<UnixListener, ProxyError> {
    let fail = |source| ProxyError::Socket { socket: path.to_owned(), source };
    // Made beside its place and moved there, so that there is no moment without one and none with another mode.
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(fail)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    step(Point::ProxySocket, || fs::rename(&new, path)).map_err(fail)?;
    Ok(listener)
}

/// Has as many descriptors as the system allows; how many those are.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "limit of open files cannot be raised; keeping the present limit");
            limit.current
        }
    }
}

/// What there are descriptors for: each client takes one, its request another one to an instance, and what those leave is for
/// connections to instances that rest. Who was taken in without that would get an error; who waits in the socket's queue is
/// answered in the end.
fn within_files(limits: Limits, files: Option<u64>, workers: usize) -> Limits {
    let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else { return limits };
    let files = files.saturating_sub(OWN_FILES + OWN_FILES_OF_A_WORKER * workers);
    let connections_max = limits.connections_max.min(files / 3).max(1);
    let pool_max = limits.pool_max.min(files.saturating_sub(2 * connections_max) / workers);
    Limits { connections_max, pool_max, ..limits }
}

#[cfg(test)]
mod tests {
    use super::{Limits, within_files};

    #[test]
    fn file_descriptors_are_divided_by_use() {
        let for_clients_and_each_pool = |files, workers| {
            let limits = within_files(Limits::default(), files, workers);
            (limits.connections_max, limits.pool_max)
        };
        assert_eq!(for_clients_and_each_pool(Some(64), 2), (10, 6));
        assert_eq!(for_clients_and_each_pool(Some(4), 2), (1, 0));
        assert_eq!(for_clients_and_each_pool(Some(1_048_576), 64), (10_000, 16_063));
        assert_eq!(for_clients_and_each_pool(None, 2), (10_000, usize::MAX));
    }
}

//! Data planes whose place this one takes, and that then finish what they have. Until the last of them has ended they are
//! told of each table, and what they have in flight counts as this one's: so nothing is stopped that they still send to.

use crate::control::{Client, ProxyStatus};
use crate::handover;
use crate::plane::Plane;
use crate::process::{ProxyConfig, ProxyError};
use futures_util::future::join_all;
use gapless_effect::{Point, step};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// In the names of the control sockets of data planes that were replaced.
const YIELDED: &str = ".yielded-";
/// How long one wait for news of a predecessor lasts.
const NEWS_WITHIN: Duration = Duration::from_secs(30);
/// How soon one that does not answer is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The data plane whose place is to be taken.
pub(crate) struct Predecessor(Client);

impl Predecessor {
    /// The one that answers at the control socket, if one does.
    ///
    /// # Errors
    /// If there is one and it is not to be replaced.
    pub(crate) fn find(config: &ProxyConfig) -> Result<Option<Self>, ProxyError> {
        let socket = &config.control_socket;
        if UnixStream::connect(socket).is_err() {
            return Ok(None);
        }
        if !config.replace {
            return Err(ProxyError::AlreadyRunning { socket: socket.clone() });
        }
        Ok(Some(Predecessor(Client::new(socket))))
    }

    /// Duplicates of its listening sockets.
    ///
    /// # Errors
    /// If it does not hand them over.
    pub(crate) fn listeners(&self) -> Result<Vec<TcpListener>, ProxyError> {
        handover::take(self.0.socket()).map_err(ProxyError::Start)
    }

    /// Has its control socket stand at another place, too: where it is reached once there is another one at this place.
    ///
    /// # Errors
    /// If it does not say who it is, or its socket cannot be linked.
    pub(crate) async fn put_aside(self, control_socket: &Path) -> Result<(), ProxyError> {
        let status = self.0.status().await.map_err(|error| ProxyError::Start(io::Error::other(error)))?;
        let mut aside = control_socket.as_os_str().to_owned();
        aside.push(format!("{YIELDED}{}-{}", status.pid, status.started_at.0));
        let aside = PathBuf::from(aside);
        // Left by one that did not come to take its place.
        let _ = fs::remove_file(&aside);
        let linked = step(Point::ProxyAside, || fs::hard_link(control_socket, &aside));
        linked.map_err(|source| ProxyError::Socket { socket: aside.clone(), source })
    }
}

/// Those that have yielded and not ended.
#[derive(Default)]
pub(crate) struct Predecessors(Mutex<Vec<Arc<Client>>>);

impl Predecessors {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Another data plane tells them and counts for them from now on.
    pub(crate) fn leave(&self) {
        self.change(Vec::clear);
    }

    /// Tells them of a table, and waits until they go by it.
    ///
    /// # Errors
    /// What one of them said that neither goes by it nor has ended.
    pub(crate) async fn apply(&self, table: &[u8]) -> Result<(), String> {
        let told = self.all().into_iter().map(async |client| match client.put_yielded(table.to_vec()).await {
            Err(error) if !is_gone(client.socket()) => Err(error),
            _ => Ok(()),
        });
        let told: Result<Vec<()>, _> = join_all(told).await.into_iter().collect();
        told.map(drop).map_err(|error| format!("a data plane that this one replaced did not apply the table: {error}"))
    }

    /// Adds what they do to the status of the one that has replaced them.
    pub(crate) async fn add_to(&self, status: &mut ProxyStatus) {
        let clients = self.all();
        for (client, told) in clients.iter().zip(join_all(clients.iter().map(|client| client.yielded_status())).await) {
            let Ok(other) = told else {
                status.is_in_flight_unknown |= !is_gone(client.socket());
                continue;
            };
            status.applied_version = status.applied_version.min(other.applied_version);
            status.connections += other.connections;
            for (id, traffic) in other.placements.into_iter().filter(|(_, traffic)| traffic.in_flight > 0) {
                let own = status.placements.entry(id).or_default();
                own.in_flight += traffic.in_flight;
                own.upgraded += traffic.upgraded;
            }
        }
    }

    fn all(&self) -> Vec<Arc<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has(&self, client: &Arc<Client>) -> bool {
        self.all().iter().any(|other| Arc::ptr_eq(other, client))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Client>>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Has all data planes yield to `plane` that were put aside and have not ended, by whomever: one that was killed right then
/// has not asked them. From then on they take tables from that one only, so the newest one is among those they go by; and
/// they are followed until they have ended. Connections wait in the listening sockets meanwhile.
pub(crate) async fn follow_all(plane: &Arc<Plane>, control_socket: &Path) {
    let yielding = yielded(control_socket).into_iter().map(async |socket| {
        let client = Arc::new(Client::new(socket));
        match client.yield_now().await {
            // One that is older than the present one changes nothing.
            Ok(table) => drop(plane.put(&table).await),
            Err(error) => tracing::warn!(%error, "predecessor does not answer; taking over"),
        }
        follow(plane, client);
    });
    join_all(yielding).await;
}

/// Follows a data plane until it has ended.
fn follow(plane: &Arc<Plane>, client: Arc<Client>) {
    plane.predecessors.change(|all| all.push(client.clone()));
    let plane = Arc::clone(plane);
    tokio::spawn(async move {
        let mut seen = 0;
        while plane.predecessors.has(&client) && !is_gone(client.socket()) {
            match client.changes(seen, NEWS_WITHIN).await {
                Ok(changes) => seen = changes.sequence,
                Err(_) => tokio::time::sleep(RETRY_AFTER).await,
            }
            plane.news();
        }
        if plane.predecessors.has(&client) {
            plane.predecessors.change(|all| all.retain(|other| !Arc::ptr_eq(other, &client)));
            let _ = fs::remove_file(client.socket());
            plane.news();
        }
    });
}

/// The control sockets of those that were put aside and have not ended.
fn yielded(control_socket: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (control_socket.parent(), control_socket.file_name()) else { return Vec::new() };
    let mut begins = name.to_os_string();
    begins.push(YIELDED);
    let is_one = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(begins.as_encoded_bytes()))
    };
    let entries = fs::read_dir(folder).into_iter().flat_map(|entries| entries.flatten()).map(|entry| entry.path());
    let (gone, alive): (Vec<_>, Vec<_>) = entries.filter(is_one).partition(|path| is_gone(path));
    for path in gone {
        let _ = fs::remove_file(path);
    }
    alive
}

/// Whether nobody listens there: the kernel says so itself.
pub(crate) fn is_gone(socket: &Path) -> bool {
    let gone = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
    UnixStream::connect(socket).is_err_and(|error| gone.contains(&error.kind()))
}

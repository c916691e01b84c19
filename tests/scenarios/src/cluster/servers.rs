//! Three servers of one cluster on one host: they share its proxy and its processes, and each has its own link to etcd.

use super::judge;
use super::members::endpoint;
use super::network::MACHINES;
use gapless_api::{ApplicationView, Client, Role};
use gapless_harness::{Gapless, Host, free_port, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

const START_DEADLINE: Duration = Duration::from_secs(30);
/// The maximum time of a server to report its role; a paused server never does.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// The servers. They are killed when this is dropped; their children are killed with the namespace.
pub(super) struct Servers {
    hosts: [Host; MACHINES],
    listen: SocketAddr,
}

impl Servers {
    /// Starts all servers, and waits until all answer.
    pub(super) fn start(folder: &Path) -> Servers {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let hosts = std::array::from_fn(|index| {
            let number = index + 1;
            let own = folder.join(server_name(number));
            std::fs::create_dir_all(&own).expect("the folder can be created");
            let starter = ["env", "NO_COLOR=1", "GAPLESS_LOG=info,gapless_store=debug"];
            let mut host = Host::at(&own, listen).started_by(&starter);
            let endpoints: Vec<_> = (1..=MACHINES).map(|member| endpoint(number, member)).collect();
            host.configure(&format!(
                "name = \"{}\"\nhost_dir = \"{}\"\n[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n",
                server_name(number),
                folder.join("host").display(),
            ));
            host.spawn_server();
            host
        });
        let servers = Servers { hosts, listen };
        wait_for("all servers answer", START_DEADLINE, || servers.all_answer());
        servers
    }

    /// The address for users' requests.
    pub(super) const fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Starts a server without waiting.
    pub(super) fn spawn(&mut self, number: usize) {
        self.hosts[number - 1].spawn_server();
    }

    /// Kills a server with SIGKILL.
    pub(super) fn kill(&mut self, number: usize) {
        self.hosts[number - 1].kill_server();
    }

    /// Sends a server a signal, such as SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, number: usize, signal: Signal) {
        self.hosts[number - 1].signal_server(signal);
    }

    /// The command line for a server.
    pub(super) fn gapless(&self, number: usize) -> Gapless {
        self.hosts[number - 1].gapless()
    }

    /// A client that finds the leader, also from another thread.
    pub(super) fn inspector(&self) -> Inspector {
        Inspector { clients: self.hosts.iter().map(|host| Client::new(host.socket())).collect() }
    }

    /// The leading server that answers from the records, once every server answers.
    pub(super) fn all_answer(&self) -> Option<usize> {
        let inspector = self.inspector();
        let roles: Option<Vec<Role>> = (1..=MACHINES).map(|number| inspector.role(number)).collect();
        let leaders: Vec<usize> =
            (1..).zip(roles?).filter(|(_, role)| *role == Role::Leader).map(|(number, _)| number).collect();
        (leaders.len() == 1).then(|| leaders[0])
    }

    /// The logged commits of all servers by revision.
    pub(super) fn commits(&self) -> BTreeMap<i64, Option<i64>> {
        self.hosts.iter().flat_map(|host| judge::commits(&host.log())).collect()
    }

    /// The servers that have exited by themselves.
    pub(super) fn ended(&mut self) -> Vec<usize> {
        (1..=MACHINES).filter(|number| self.hosts[number - 1].server_ended().is_some()).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.kill_server();
        }
    }
}

/// Clients that query the roles of servers.
pub(super) struct Inspector {
    clients: Vec<Client>,
}

impl Inspector {
    /// The role of a server, if it reports one and answers from the records.
    pub(super) fn role(&self, number: usize) -> Option<Role> {
        let client = &self.clients[number - 1];
        within(async {
            client.applications().await.ok()?;
            Some(client.server().await.ok()?.role)
        })
    }

    /// The first of these servers that leads and answers.
    pub(super) fn leader_of(&self, numbers: impl IntoIterator<Item = usize>) -> Option<usize> {
        numbers.into_iter().find(|number| self.role(*number) == Some(Role::Leader))
    }

    /// The applications according to a server.
    pub(super) fn applications(&self, number: usize) -> Option<Vec<ApplicationView>> {
        within(async { self.clients[number - 1].applications().await.ok() })
    }
}

/// The name of a server.
pub(super) fn server_name(number: usize) -> String {
    format!("server{number}")
}

/// The number of the server with this name.
pub(super) fn server_number(name: &str) -> Option<usize> {
    (1..=MACHINES).find(|number| server_name(*number) == name)
}

fn within<T>(asked: impl Future<Output = Option<T>>) -> Option<T> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio can be set up");
    tokio.block_on(async { timeout(ASK_DEADLINE, asked).await }).ok().flatten()
}

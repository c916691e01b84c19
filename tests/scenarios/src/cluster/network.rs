//! The network of a cluster on one machine: each etcd member in a network namespace of its own, the servers with proxy
//! and instances in another, and a switch between them in one more, which no firewall of the host affects.
//!
//! Each server reaches the members by its own addresses (its link), so each link can be cut by itself.

use gapless_harness::deps::netns::{self, check, enter, ip};
use std::path::Path;
use std::process::{Command, Stdio};

/// The number of etcd members, and of servers.
pub const MACHINES: usize = 3;
/// The link of the scenario itself; a server's link has the number of the server, from 1.
pub const OWN_LINK: usize = 9;
/// The link between the members.
const PEERS_LINK: usize = 0;
/// The last part of the addresses of the servers' namespace.
const HOST_PART: usize = 100;
const NAME: &str = "gapless-cluster";
/// The firewall chain of each member with the cut connections.
const CHAIN: &str = "GAPLESS-CUT";

/// The namespaces. They are removed, and their processes killed, when this is dropped.
pub struct Network {
    prefix: String,
}

impl Network {
    /// Creates the namespaces, after removing those of killed scenarios.
    ///
    /// # Panics
    /// If this process is not root.
    #[must_use]
    pub fn new() -> Network {
        for pid in left_by() {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                remove_of(pid);
            }
        }
        let network = Network { prefix: format!("{NAME}-{}", std::process::id()) };
        let switch = network.name("switch");
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for member in 1..=MACHINES {
            let links = std::iter::once(PEERS_LINK).chain(1..=MACHINES).chain([OWN_LINK]);
            let name = network.member(member);
            network.attach(&name, member, links.map(|link| address(link, member)));
            for arguments in [["-N", CHAIN].as_slice(), &["-A", "INPUT", "-j", CHAIN], &["-A", "OUTPUT", "-j", CHAIN]] {
                network.iptables(member, arguments);
            }
        }
        let links = (1..=MACHINES).chain([OWN_LINK]);
        network.attach(&network.name("host"), HOST_PART, links.map(|link| address(link, HOST_PART)));
        network
    }

    /// Moves this thread, with all later children, into the servers' namespace.
    ///
    /// # Panics
    /// If this process is not root.
    pub fn enter(&self) {
        enter(&self.name("host"));
    }

    /// A command that executes a program in a member's namespace, with the process id of the child.
    pub(super) fn command(&self, member: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns::path(&self.member(member)).display())).arg(program).stdin(Stdio::null());
        command
    }

    /// Drops all packets between a member and an address, in both directions; or stops dropping them.
    pub(super) fn cut(&self, member: usize, other: &str, is_cut: bool) {
        let change = if is_cut { "-A" } else { "-D" };
        for end in ["-s", "-d"] {
            self.iptables(member, &[change, CHAIN, end, other, "-j", "DROP"]);
        }
    }

    /// Unplugs a member from the switch, or plugs it in again.
    pub(super) fn plug(&self, member: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        ip(&["-n", &self.name("switch"), "link", "set", &port(member), state]);
    }

    /// Kills all processes in the servers' namespace, except this process.
    pub(super) fn kill_all_of_host(&self) {
        kill_all(&self.name("host"));
    }

    fn attach(&self, name: &str, number: usize, addresses: impl Iterator<Item = String>) {
        let (switch, port) = (self.name("switch"), port(number));
        ip(&["netns", "add", name]);
        ip(&["-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
        for address in addresses {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        }
        for device in ["lo", "eth0"] {
            ip(&["-n", name, "link", "set", device, "up"]);
        }
    }

    fn iptables(&self, member: usize, arguments: &[&str]) {
        let output = self.command(member, "iptables").arg("--wait").args(arguments).output();
        check("iptables", arguments, &output.expect("iptables can be run: install iptables"));
    }

    fn member(&self, number: usize) -> String {
        self.name(&format!("etcd{number}"))
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove_own();
    }
}

/// Removes the namespaces of this process and kills their processes; also for a signal handler.
pub fn remove_own() {
    remove_of(std::process::id());
}

/// The address of a member on a link.
pub(super) fn address(link: usize, member: usize) -> String {
    format!("10.213.{link}.{member}")
}

/// The address of a member for the other members.
pub(super) fn peer_address(member: usize) -> String {
    address(PEERS_LINK, member)
}

/// The address of a server on its link.
pub(super) fn server_address(link: usize) -> String {
    address(link, HOST_PART)
}

fn port(number: usize) -> String {
    format!("port{number}")
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix(NAME)?.strip_prefix('-')?.split_once('-')?.0.parse().ok()
}

fn left_by() -> std::collections::BTreeSet<u32> {
    namespaces().iter().filter_map(|name| owner(name)).collect()
}

fn remove_of(pid: u32) {
    for name in namespaces().into_iter().filter(|name| owner(name) == Some(pid)) {
        kill_all(&name);
        // The next scenario removes a namespace that cannot be removed now.
        let _ = Command::new("ip").args(["netns", "delete", &name]).output();
    }
}

/// Kills all processes in a namespace; it has only processes of the scenario.
fn kill_all(namespace: &str) {
    // Twice: a process may be started meanwhile, as a server restarts its proxy.
    for _ in 0..2 {
        let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else { return };
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in pids.filter(|pid| u32::try_from(*pid).ok() != Some(std::process::id())) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // The process may have exited already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn namespace_name_gives_its_owner() {
        assert_eq!(owner("gapless-cluster-12-etcd1"), Some(12));
        assert_eq!(owner("gapless-clusters-12-etcd1"), None);
        assert_eq!(owner("somebody-else"), None);
    }
}

//! The network of a cluster on one machine: each etcd member in a network namespace of its own, the servers with proxy
//! and instances in another, and a switch between them in one more, where no firewall of the host's has a say.
//!
//! Every server has addresses of its own to reach the members by, so each way can be cut by itself.

use gapless_harness::deps::netns::{self, check, enter, ip};
use std::path::Path;
use std::process::{Command, Stdio};

/// How many etcd members there are, and how many servers.
pub const MACHINES: usize = 3;
/// The way that only the scenario itself uses; those of the servers are their numbers, from 1.
pub const OWN_WAY: usize = 9;
/// Where members reach each other.
const PEERS_WAY: usize = 0;
/// What is last in the addresses of the servers' namespace.
const HOST_PART: usize = 100;
const NAME: &str = "gapless-cluster";
/// The chain of each member's firewall that has what is cut.
const CHAIN: &str = "GAPLESS-CUT";

/// The namespaces. They are gone, with all that runs in them, when this is dropped.
pub struct Network {
    prefix: String,
}

impl Network {
    /// Makes the namespaces. What a scenario that was killed has left is removed first.
    ///
    /// # Panics
    /// If that is not allowed here: it takes root.
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
            let ways = std::iter::once(PEERS_WAY).chain(1..=MACHINES).chain([OWN_WAY]);
            let name = network.member(member);
            network.attach(&name, member, ways.map(|way| address(way, member)));
            for arguments in [["-N", CHAIN].as_slice(), &["-A", "INPUT", "-j", CHAIN], &["-A", "OUTPUT", "-j", CHAIN]] {
                network.iptables(member, arguments);
            }
        }
        let ways = (1..=MACHINES).chain([OWN_WAY]);
        network.attach(&network.name("host"), HOST_PART, ways.map(|way| address(way, HOST_PART)));
        network
    }

    /// Has this thread, and what it starts from now on, be in the servers' namespace.
    ///
    /// # Panics
    /// If that is not allowed here.
    pub fn enter(&self) {
        enter(&self.name("host"));
    }

    /// A command that runs a program in a member's namespace, as the very process that is started.
    pub(super) fn command(&self, member: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns::path(&self.member(member)).display())).arg(program).stdin(Stdio::null());
        command
    }

    /// Drops whatever goes between a member and an address, both ways; or lets it through again.
    pub(super) fn cut(&self, member: usize, other: &str, is_cut: bool) {
        let change = if is_cut { "-A" } else { "-D" };
        for end in ["-s", "-d"] {
            self.iptables(member, &[change, CHAIN, end, other, "-j", "DROP"]);
        }
    }

    /// Pulls the cable of a member out of the switch, or puts it in again.
    pub(super) fn plug(&self, member: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        ip(&["-n", &self.name("switch"), "link", "set", &port(member), state]);
    }

    /// Kills all that runs in the servers' namespace, apart from this process.
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

/// Removes the namespaces of this process and kills all that runs in them: also for a handler of signals.
pub fn remove_own() {
    remove_of(std::process::id());
}

/// The address of a member on the way of a server.
pub(super) fn address(way: usize, member: usize) -> String {
    format!("10.213.{way}.{member}")
}

/// The address of a member for the other members.
pub(super) fn peer_address(member: usize) -> String {
    address(PEERS_WAY, member)
}

/// The address that a server has on its way.
pub(super) fn server_address(way: usize) -> String {
    address(way, HOST_PART)
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
        // What cannot be removed now, the next scenario removes.
        let _ = Command::new("ip").args(["netns", "delete", &name]).output();
    }
}

/// Only what the scenario started is in its namespaces.
fn kill_all(namespace: &str) {
    // Twice: something may be started while others are killed, as a server starts its proxy anew.
    for _ in 0..2 {
        let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else { return };
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in pids.filter(|pid| u32::try_from(*pid).ok() != Some(std::process::id())) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn a_namespace_says_whose_it_is() {
        assert_eq!(owner("gapless-cluster-12-etcd1"), Some(12));
        assert_eq!(owner("gapless-clusters-12-etcd1"), None);
        assert_eq!(owner("somebody-else"), None);
    }
}

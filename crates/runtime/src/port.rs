//! The processes that listen on TCP ports (proc(5), `/proc/net/tcp`).

use crate::proc;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Docker's own name server in each container's network namespace, 127.0.0.11.
const DOCKER_DNS: &str = "0B00007F";

/// The state LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that listens on that TCP port of this host: its program and process id, as far as they are known.
#[must_use]
pub fn port_owner(port: u16) -> Option<String> {
    let listening = listening(Path::new("/proc/net"));
    let inodes: BTreeSet<_> = listening.into_iter().filter(|(_, on)| *on == port).map(|(inode, _)| inode).collect();
    let mut pids = proc::pids().ok()?.into_iter();
    let pid = pids.find(|pid| sockets_of(*pid).iter().any(|inode| inodes.contains(inode)))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (process {pid})", name.trim()))
}

/// The TCP ports with a listener in the network namespace of process `pid`.
pub(crate) fn ports_in_namespace_of(pid: u32) -> Vec<u16> {
    let listening = listening(Path::new(&format!("/proc/{pid}/net")));
    let ports: BTreeSet<_> = listening.into_values().collect();
    ports.into_iter().collect()
}

/// The TCP ports that the processes `pids` listen on.
pub(crate) fn ports_of(pids: &[u32]) -> Vec<u16> {
    let listening = listening(Path::new("/proc/net"));
    let sockets: BTreeSet<_> = pids.iter().flat_map(|pid| sockets_of(*pid)).collect();
    let ports: BTreeSet<_> = sockets.iter().filter_map(|inode| listening.get(inode).copied()).collect();
    ports.into_iter().collect()
}

/// Listening sockets: inode to port.
fn listening(net: &Path) -> BTreeMap<u64, u16> {
    let tables = ["tcp", "tcp6"].iter().filter_map(|name| fs::read_to_string(net.join(name)).ok());
    let text: Vec<_> = tables.collect();
    text.iter().flat_map(|table| table.lines().skip(1)).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.rsplit_once(':')?;
    let is_listening = fields.get(3) == Some(&LISTEN) && address != DOCKER_DNS;
    is_listening.then_some((fields.get(9)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
}

fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_owner_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let owner = port_owner(port).unwrap();
        assert!(owner.contains(&format!("process {}", std::process::id())), "{owner}");
        assert!(ports_of(&[std::process::id()]).contains(&port));
        drop(listener);
        assert!(!ports_of(&[std::process::id()]).contains(&port));
    }
}

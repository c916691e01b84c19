//! Chooses free ports for instances.

use super::folder::Folders;
use crate::instance::peer_variable;
use crate::{InstancePlan, RuntimeError, port_owner};
use gapless_core::InstanceName;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The first port. Ports are below the kernel's ephemeral ports (32768 and up), so that no outgoing connection takes an
/// instance's port between the choice and the listen.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port for the planned instance, and its variables with the addresses of the slot's other services. With several
/// services, the ports of all their instances are chosen when the first instance starts, so that each instance can get
/// the addresses of the others; the ports never change after that.
pub(super) fn of(folders: &Folders, plan: &InstancePlan) -> Result<(u16, Vec<(String, String)>), RuntimeError> {
    if plan.peers.is_empty() {
        return Ok((choose(folders, &plan.name, plan.host_port)?, Vec::new()));
    }
    let placement = &plan.name.placement;
    let mut reserved = folders.reserved(placement)?;
    for (service, peer) in &plan.peers {
        for name in (1..=peer.replicas).map(|replica| placement.instance(service, replica)) {
            if !reserved.contains_key(&name) {
                reserved.insert(name.clone(), choose(folders, &name, None)?);
                // Written at once: the next choice must see it.
                folders.reserve(placement, &reserved)?;
            }
        }
    }
    if let Some(port) = plan.host_port.filter(|port| reserved.get(&plan.name) != Some(port)) {
        reserved.insert(plan.name.clone(), choose(folders, &plan.name, Some(port))?);
        folders.reserve(placement, &reserved)?;
    }
    let variables = plan.peers.keys().map(|service| {
        let of_it = reserved.iter().filter(|(name, _)| name.service == *service);
        let addresses: Vec<_> = of_it.map(|(_, port)| format!("{}:{port}", Ipv4Addr::LOCALHOST)).collect();
        (peer_variable(service), addresses.join(","))
    });
    let variables = variables.collect();
    match reserved.get(&plan.name) {
        Some(port) if is_free(*port) => Ok((*port, variables)),
        Some(port) => Err(RuntimeError::PortTaken { port: *port, owner: port_owner(*port) }),
        None => Ok((choose(folders, &plan.name, None)?, variables)),
    }
}

/// A port for the instance: the fixed port or its previous port if that is free, otherwise another.
fn choose(folders: &Folders, name: &InstanceName, fixed: Option<u16>) -> Result<u16, RuntimeError> {
    if let Some(port) = fixed {
        return if is_free(port) { Ok(port) } else { Err(RuntimeError::PortTaken { port, owner: port_owner(port) }) };
    }
    let given = folders.ports()?;
    let had = given.iter().find(|(other, _)| other == name).map(|(_, port)| *port);
    let is_others = |port: u16| given.iter().any(|(other, theirs)| other != name && *theirs == port);
    // Starts at another port for each instance and installation, so that ports are not reused soon, or chosen by two.
    let place = folders.of(name);
    let seed = place
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let offset = u16::try_from(seed % u32::from(COUNT)).unwrap_or(0);
    let others = (0..COUNT).map(|step| FIRST + (offset + step) % COUNT);
    let free = had.into_iter().chain(others).find(|port| !is_others(*port) && is_free(*port));
    free.ok_or_else(|| RuntimeError::Start {
        name: name.clone(),
        why: format!("all ports from {FIRST} to {} are taken", FIRST + COUNT - 1),
    })
}

/// The port is free at every address. Only binds and does not listen: a child between fork and exec inherits this
/// socket, and would accept a client's connection.
fn is_free(port: u16) -> bool {
    let bound = || -> rustix::io::Result<()> {
        let (family, flags) = (rustix::net::AddressFamily::INET, rustix::net::SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None)?;
        // As listeners do: connections in TIME_WAIT and sockets like this one then do not make the port busy.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
    };
    bound().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_free;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn port_check_accepts_no_connections() {
        // Below the ports of instances and the kernel's ephemeral ports.
        let port = 19_000 + u16::try_from(std::process::id() % 1_000).unwrap();
        let looks = std::thread::spawn(move || (0..5_000).all(|_| is_free(port)));
        while !looks.is_finished() {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the check listened");
        }
        assert!(looks.join().unwrap());

        for address in ["127.0.0.1", "0.0.0.0"] {
            let _listener = TcpListener::bind((address, port)).unwrap();
            assert!(!is_free(port));
        }
    }
}

//! Free ports for instances.

use super::folder::Folders;
use crate::{RuntimeError, port_holder};
use gapless_core::InstanceName;
use std::net::{Ipv4Addr, TcpListener};

/// Where ports are taken from: below those that the kernel gives to outgoing connections (32768 and up), so that none of
/// these takes an instance's port between its being chosen and its being listened on.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port for the instance: the fixed one, if it is free; the one that it had, if it is; else another.
pub(super) fn choose(folders: &Folders, name: &InstanceName, fixed: Option<u16>) -> Result<u16, RuntimeError> {
    if let Some(port) = fixed {
        return if is_free(port) { Ok(port) } else { Err(RuntimeError::PortTaken { port, holder: port_holder(port) }) };
    }
    let given = folders.ports()?;
    let had = given.iter().find(|(other, _)| other == name).map(|(_, port)| *port);
    let is_others = |port: u16| given.iter().any(|(other, theirs)| other != name && *theirs == port);
    // From another place for each instance and installation, so that ports are not reused at once, nor chosen by two.
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

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

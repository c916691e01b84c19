//! A fixed address for each instance: while a data plane routes to that address, no other container can answer there,
//! in whatever order containers die and come back.
//!
//! The lower half of gapless's network is reserved for instances; each requests the address that follows from its name.
//! The Engine assigns addresses from the upper half to other containers. An existing network with other settings is
//! left unchanged: there the Engine chooses, and may reuse an address for another container.

use bollard::models::{Ipam, IpamConfig, NetworkInspect};
use gapless_core::InstanceName;
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

/// A smaller network is not divided.
const ADDRESSES_MIN: u32 = 16;

/// The addresses that are reserved for instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    first: u32,
    count: u32,
}

impl Addresses {
    /// The reserved addresses of a network, if it is divided as by [`halved`].
    pub(super) fn of(network: &NetworkInspect) -> Option<Addresses> {
        let config = config(network)?;
        let (start, size) = subnet(config.subnet.as_deref()?)?;
        let others = subnet(config.ip_range.as_deref()?)?;
        if others != (start + size / 2, size / 2) || size < ADDRESSES_MIN {
            return None;
        }
        // The first address is the network's, the second by convention the gateway's.
        Some(Addresses { first: start + 2, count: size / 2 - 2 })
    }

    /// The address of an instance; a different one for each `attempt`, since the addresses of two names can collide.
    pub(super) fn address_of(&self, name: &InstanceName, attempt: u32) -> Ipv4Addr {
        let digest = Sha256::new().chain_update(name.to_string()).chain_update(attempt.to_be_bytes()).finalize();
        let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        Ipv4Addr::from(self.first + number % self.count)
    }
}

/// The settings of the same network, divided: the Engine assigns addresses from the upper half only.
pub(super) fn halved(network: &NetworkInspect) -> Option<Ipam> {
    let found = config(network)?;
    let (start, size) = subnet(found.subnet.as_deref()?)?;
    let prefix = size.leading_zeros() + 2;
    let config = IpamConfig {
        subnet: found.subnet.clone(),
        gateway: Some(Ipv4Addr::from(start + 1).to_string()),
        ip_range: Some(format!("{}/{prefix}", Ipv4Addr::from(start + size / 2))),
        ..IpamConfig::default()
    };
    (size >= ADDRESSES_MIN).then(|| Ipam { config: Some(vec![config]), ..Ipam::default() })
}

fn config(network: &NetworkInspect) -> Option<&IpamConfig> {
    network.ipam.as_ref()?.config.as_ref()?.iter().find(|config| subnet_of(config).is_some())
}

fn subnet_of(config: &IpamConfig) -> Option<(u32, u32)> {
    subnet(config.subnet.as_deref()?)
}

/// The first address and the size of an IPv4 subnet, such as `172.18.0.0/16`.
fn subnet(text: &str) -> Option<(u32, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let size = 1_u32.checked_shl(32_u32.checked_sub(prefix.parse().ok()?)?)?;
    Some((u32::from(address) & !(size - 1), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str, range: Option<&str>) -> NetworkInspect {
        let config =
            IpamConfig { subnet: Some(subnet.to_owned()), ip_range: range.map(str::to_owned), ..IpamConfig::default() };
        NetworkInspect {
            ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
            ..NetworkInspect::default()
        }
    }

    #[test]
    fn only_divided_networks_are_recognised() {
        for (subnet, range) in [("172.18.0.0/16", "172.18.128.0/17"), ("10.1.2.0/24", "10.1.2.128/25")] {
            let ipam = halved(&network(subnet, None)).unwrap();
            assert_eq!(ipam.config.as_ref().unwrap()[0].ip_range.as_deref(), Some(range));
            assert!(Addresses::of(&NetworkInspect { ipam: Some(ipam), ..NetworkInspect::default() }).is_some());
        }
        assert_eq!(Addresses::of(&network("172.18.0.0/16", None)), None);
        assert_eq!(Addresses::of(&network("172.18.0.0/16", Some("172.18.0.0/17"))), None);
        assert!(halved(&network("10.0.0.0/29", None)).is_none() && halved(&network("fd00::/64", None)).is_none());
    }

    #[test]
    fn instance_addresses_exclude_the_gateway_and_the_upper_half() {
        let addresses = Addresses::of(&network("10.1.2.0/24", Some("10.1.2.128/25"))).unwrap();
        for number in 1..500 {
            let name: InstanceName = format!("shop.production.blue.{number}.web.1").parse().unwrap();
            let [_, _, _, last] = addresses.address_of(&name, 0).octets();
            assert!((2..128).contains(&last), "{last}");
            assert_eq!(addresses.address_of(&name, 0), addresses.address_of(&name, 0));
        }
        let name: InstanceName = "shop.production.blue.1.web.1".parse().unwrap();
        assert_ne!(addresses.address_of(&name, 0), addresses.address_of(&name, 1));
    }
}

//! The programs that a test host stands on besides gapless itself.

use crate::deps::{Etcd, Nginx};
use crate::net::free_port;
use std::net::SocketAddr;

/// What of others' a host stands on.
#[derive(Default)]
pub struct TestStack {
    /// Its data plane, where that is not gapless's own proxy.
    pub nginx: Option<Nginx>,
    /// Where its records are, where that is not SQLite.
    pub etcd: Option<Etcd>,
}

impl TestStack {
    /// Where users' requests go.
    pub(super) fn address(&self) -> SocketAddr {
        self.nginx.as_ref().map_or_else(|| SocketAddr::from(([127, 0, 0, 1], free_port())), Nginx::address)
    }

    /// What the server's configuration says of it.
    pub(super) fn server_config(&self) -> String {
        let nginx = self.nginx.as_ref().map(Nginx::server_config).unwrap_or_default();
        let etcd = self.etcd.as_ref().map(Etcd::node);
        let etcd = etcd.map(|node| format!("[store]\nkind = \"etcd\"\nendpoints = [\"{node}\"]\n"));
        nginx + &etcd.unwrap_or_default()
    }
}

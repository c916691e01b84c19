//! The programs that a test host uses besides gapless.

use crate::deps::{Etcd, Nginx};
use crate::net::free_port;
use std::net::SocketAddr;

/// The programs that a test host uses besides gapless.
#[derive(Default)]
pub struct TestStack {
    /// The data plane, if not gapless's own proxy.
    pub nginx: Option<Nginx>,
    /// The store of the records, if not SQLite.
    pub etcd: Option<Etcd>,
}

impl TestStack {
    /// The address for users' requests.
    pub(super) fn address(&self) -> SocketAddr {
        self.nginx.as_ref().map_or_else(|| SocketAddr::from(([127, 0, 0, 1], free_port())), Nginx::address)
    }

    /// Its part of the server's configuration.
    pub(super) fn server_config(&self) -> String {
        let nginx = self.nginx.as_ref().map(Nginx::server_config).unwrap_or_default();
        let etcd = self.etcd.as_ref().map(Etcd::node);
        let etcd = etcd.map(|node| format!("[store]\nkind = \"etcd\"\nendpoints = [\"{node}\"]\n"));
        nginx + &etcd.unwrap_or_default()
    }
}

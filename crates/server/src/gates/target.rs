//! The target of a test, and how the test reaches it before users do.

use gapless_core::routes::{PREVIEW_COOKIE, PREVIEW_HEADER};
use gapless_core::{AppKey, ServiceName, Slot};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The tested release.
#[derive(Debug, Clone)]
pub struct Target {
    /// The application and environment.
    pub key: AppKey,
    /// The deployment.
    pub deployment: u64,
    /// The number of the release.
    pub release: u64,
    /// The slot of the release.
    pub slot: Slot,
    /// The host of the routes, if a route has a host that is a name.
    pub host: Option<String>,
    /// The token with which requests reach the release through the proxy.
    pub token: String,
    /// The instances that listen, with their services.
    pub instances: Vec<(ServiceName, SocketAddr)>,
}

impl Target {
    /// The environment variables of a test. `url` is the address of the proxy as the test reaches it.
    pub(super) fn variables(&self, url: &str) -> Vec<(String, String)> {
        let all = self.instances.iter().map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(",");
        let mut by_service = BTreeMap::<_, Vec<_>>::new();
        for (service, address) in &self.instances {
            by_service
                .entry(format!("GAPLESS_INSTANCES_{}", service.in_variable()))
                .or_default()
                .push(address.to_string());
        }
        let by_service = by_service.into_iter().map(|(name, addresses)| (name, addresses.join(",")));
        let own = [
            ("GAPLESS_URL", url.to_owned()),
            ("GAPLESS_HOST", self.host.clone().unwrap_or_default()),
            ("GAPLESS_TOKEN", self.token.clone()),
            ("GAPLESS_HEADER", format!("{PREVIEW_HEADER}: {}", self.token)),
            ("GAPLESS_COOKIE", format!("{PREVIEW_COOKIE}={}", self.token)),
            ("GAPLESS_INSTANCES", all),
            ("GAPLESS_APP", self.key.app.to_string()),
            ("GAPLESS_ENVIRONMENT", self.key.env.to_string()),
            ("GAPLESS_SLOT", self.slot.to_string()),
            ("GAPLESS_RELEASE", self.release.to_string()),
            ("GAPLESS_DEPLOYMENT", self.deployment.to_string()),
        ];
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(by_service).collect()
    }

    /// The Host header of a request to the release through `proxy`.
    pub(super) fn host_header(&self, proxy: SocketAddr) -> String {
        self.host.clone().unwrap_or_else(|| proxy.to_string())
    }
}

/// The address at which this host reaches a listener.
pub(super) fn from_this_host(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

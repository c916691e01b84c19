//! `[proxy]`: what carries users' requests.

use super::read::{Reading, addresses, socket_address};
use super::{NginxTable, ProxyTable};
use crate::section::Section;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where Debian's nginx has its things.
const CONFIG_DIR: &str = "/etc/nginx/gapless.d";
const BINARY: &str = "nginx";
const CONFIG: &str = "/etc/nginx/nginx.conf";
const PID_FILE: &str = "/run/nginx.pid";
/// Where nginx says which configuration it goes by.
const STATUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// Generations of workers that may be ending at a time: each has as many processes as there are cores.
const WORKER_GENERATIONS_MAX: usize = 4;

impl Reading<'_> {
    pub(super) fn proxy(&self, table: Section<'_>) -> ProxyTable {
        let kind = table.text("kind");
        match kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("nginx") => ProxyTable::Nginx(self.nginx(table)),
            Some("gapless") => {
                table.finish();
                ProxyTable::Gapless
            }
            None => {
                if !table.has("kind") {
                    self.report.missing("proxy", "proxy.kind", "write `kind = \"gapless\"` or `kind = \"nginx\"`");
                }
                ProxyTable::Gapless
            }
            Some(other) => {
                let message = format!("`proxy.kind` cannot be {other:?}");
                let help = "the kinds are \"gapless\" and \"nginx\"".to_owned();
                let span = kind.map(|kind| kind.span).unwrap_or_default();
                self.report.at(span, message, "no such kind", Some(help));
                ProxyTable::Gapless
            }
        }
    }

    fn nginx(&self, table: Section<'_>) -> NginxTable {
        let path =
            |key, usual: &str| table.text(key).map_or_else(|| PathBuf::from(usual), |path| self.base.join(path.value));
        let config_dir = path("config_dir", CONFIG_DIR);
        let (config, pid_file) = (path("config", CONFIG), path("pid_file", PID_FILE));
        // A name without a slash is looked for in PATH.
        let binary = table.text("binary").map_or_else(|| BINARY.to_owned(), |binary| binary.value);
        let binary = if binary.contains('/') { self.base.join(binary) } else { PathBuf::from(binary) };
        let status = table.text("status").and_then(|status| {
            let address = socket_address(&status.value).and_then(|address| match address.ip().is_loopback() {
                true => Ok(address),
                false => Err(format!("{address} is not a loopback address, and others must not ask there")),
            });
            table.accept(status.span, "proxy.status", address)
        });
        let listen = addresses(&table);
        let generations: Option<u16> = table.number("worker_generations_max");
        if generations == Some(0) {
            self.report.at_path(
                "proxy.worker_generations_max",
                "`proxy.worker_generations_max` must be at least 1",
                "here",
            );
        }
        table.finish();
        NginxTable {
            config_dir,
            binary,
            config,
            pid_file,
            status: status.unwrap_or(STATUS),
            listen,
            worker_generations_max: generations.map_or(WORKER_GENERATIONS_MAX, usize::from),
        }
    }
}

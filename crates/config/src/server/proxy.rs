//! Reads `[proxy]`: the data plane that carries the requests of users.

use super::read::{Reading, addresses, checked, socket_address};
use super::{NginxTable, ProxyTable};
use crate::keys::{Key, nginx};
use crate::section::Section;
use std::path::{Path, PathBuf};

impl Reading<'_> {
    pub(super) fn proxy(&self, table: Section<'_>) -> ProxyTable {
        let kind = table.text(&nginx::KIND);
        match kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("nginx") => ProxyTable::Nginx(Box::new(self.nginx(table))),
            Some("gapless") => {
                table.finish();
                ProxyTable::Gapless
            }
            None => {
                if !table.has(&nginx::KIND) {
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
        let path = |key: &'static Key, default: &str| {
            table.text(key).map_or_else(|| PathBuf::from(default), |path| self.base.join(path.value))
        };
        let config_dir = path(&nginx::CONFIG_DIR, nginx::CONFIG_DIR_DEFAULT);
        let pid_file = path(&nginx::PID_FILE, nginx::PID_FILE_DEFAULT);
        let template = table.text(&nginx::TEMPLATE).map(|template| self.base.join(template.value));
        let container = self.container(&table, &config_dir);
        let is_in_container = table.has(&nginx::CONTAINER);
        // A path in a container is not relative to a file of this host.
        let config = table
            .text(&nginx::CONFIG)
            .map_or_else(|| PathBuf::from(nginx::CONFIG_DEFAULT), |config| PathBuf::from(config.value));
        // A name without a slash is looked up in PATH.
        let binary = table
            .text(&nginx::BINARY)
            .map_or_else(|| PathBuf::from(nginx::BINARY_DEFAULT), |binary| PathBuf::from(binary.value));
        let is_named = binary.components().count() == 1;
        let (config, binary) = match is_in_container {
            true => (config, binary),
            false => (self.base.join(config), if is_named { binary } else { self.base.join(binary) }),
        };
        let status = table.text(&nginx::STATUS).and_then(|status| {
            let address = socket_address(&status.value).and_then(|address| {
                match address.ip().is_loopback() || (is_in_container && address.ip().is_unspecified()) {
                    true => Ok(address),
                    false if is_in_container => Err(format!(
                        "{address} is neither a loopback address nor one such as 0.0.0.0:9180, for a container with a \
                         network of its own"
                    )),
                    false => Err(format!("{address} is not a loopback address, and other hosts must not reach it")),
                }
            });
            table.accept(status.span, "proxy.status", address)
        });
        let listen = addresses(&table, &nginx::LISTEN);
        let generations: Option<u16> = table.number(&nginx::WORKER_GENERATIONS_MAX);
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
            status: status.unwrap_or(nginx::STATUS_DEFAULT),
            listen,
            worker_generations_max: generations.unwrap_or(nginx::WORKER_GENERATIONS_MAX_DEFAULT).into(),
            container,
            template,
        }
    }

    /// Reads `container` and `container_config_dir`; reports keys that do not fit a container.
    fn container(&self, table: &Section<'_>, config_dir: &Path) -> Option<(String, PathBuf)> {
        let name = table.text(&nginx::CONTAINER).and_then(|name| {
            let named = checked(name.value, is_container, "the name of a container");
            table.accept(name.span, "proxy.container", named)
        });
        let folder = table.text(&nginx::CONTAINER_CONFIG_DIR).and_then(|folder| {
            let named = checked(folder.value, |text| text.starts_with('/'), "a path that begins with a slash");
            table.accept(folder.span, "proxy.container_config_dir", named)
        });
        if table.has(&nginx::CONTAINER_CONFIG_DIR) && !table.has(&nginx::CONTAINER) {
            table.missing(&nginx::CONTAINER, "write the name of the container that nginx runs in");
        }
        if table.has(&nginx::CONTAINER) && table.has(&nginx::PID_FILE) {
            let message =
                "`proxy.pid_file` is for an nginx on this host; in a container gapless finds the master process itself";
            self.report.at_path("proxy.pid_file", message, "remove this");
        }
        name.map(|name| (name, folder.map_or_else(|| config_dir.to_owned(), PathBuf::from)))
    }
}

/// The text is a name of a container by the rules of Docker.
fn is_container(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_allowed)
}

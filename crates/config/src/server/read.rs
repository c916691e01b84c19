//! Reads each table of `server.toml`.

use super::{EtcdTable, PeersTable, RegistryTable, ServerFile, StoreTable, TlsTable};
use crate::keys::Key;
use crate::keys::server::{self, peers, registry, registry_keys, store};
use crate::report::Report;
use crate::section::{Located, Section};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The largest password, certificate or key that is read, in bytes.
const NAMED_FILE_BYTES_MAX: u64 = 64 << 10;
/// The longest prefix of keys, in bytes: etcd allows more, but people have to read the keys.
const PREFIX_BYTES_MAX: usize = 200;
/// The longest name of a server, in bytes: the same as for a host name.
const NAME_BYTES_MAX: usize = 253;

pub(super) struct Reading<'a> {
    pub(super) report: &'a Report,
    /// The folder for relative paths; absolute.
    pub(super) base: PathBuf,
}

impl Reading<'_> {
    pub(super) fn file(&self, root: Section<'_>) -> ServerFile {
        let path = |key: &'static Key| root.text(key).map(|path: Located<String>| self.base.join(path.value));
        let name = root.text(&server::NAME).and_then(|name| {
            root.accept(name.span, "name", checked(name.value, is_name, "letters, digits, `.`, `_` and `-`"))
        });
        let listen = addresses(&root, &server::LISTEN);
        let (state_dir, host_dir) = (path(&server::STATE_DIR), path(&server::HOST_DIR));
        let socket = path(&server::SOCKET);
        let store = root.table(&server::STORE).map(|table| self.store(table)).unwrap_or_default();
        let registry = root.table(&server::REGISTRY).map(|table| self.registry(table)).unwrap_or_default();
        let proxy = root.table(&server::PROXY).map(|table| self.proxy(table)).unwrap_or_default();
        let peers = root.table(&server::PEERS).and_then(|table| self.peers(table));
        if let (StoreTable::Sqlite, true) = (&store, root.has(&server::PEERS)) {
            let help =
                "with SQLite there is one server; share an etcd by `[store] kind = \"etcd\"`, or remove `[peers]`";
            if let Some(span) = self.report.span("peers") {
                self.report.at(span, "`peers` need a store that they share", "here", Some(help.to_owned()));
            }
        }
        root.finish();
        ServerFile { name, listen, state_dir, host_dir, socket, store, registry, peers, proxy }
    }

    fn store(&self, table: Section<'_>) -> StoreTable {
        let kind = table.text(&store::KIND);
        match kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("etcd") => StoreTable::Etcd(self.etcd(table)),
            Some("sqlite") => {
                table.finish();
                StoreTable::Sqlite
            }
            None => {
                if !table.has(&store::KIND) {
                    let help = "write `kind = \"sqlite\"` or `kind = \"etcd\"`";
                    self.report.missing("store", "store.kind", help);
                }
                StoreTable::Sqlite
            }
            Some(other) => {
                let message = format!("`store.kind` cannot be {other:?}");
                let help = "the kinds are \"sqlite\" and \"etcd\"".to_owned();
                let span = kind.map(|kind| kind.span).unwrap_or_default();
                self.report.at(span, message, "no such kind", Some(help));
                StoreTable::Sqlite
            }
        }
    }

    fn etcd(&self, table: Section<'_>) -> EtcdTable {
        let endpoints = table.texts(&store::ENDPOINTS);
        if endpoints.as_ref().map_or(!table.has(&store::ENDPOINTS), Vec::is_empty) {
            table.missing(
                &store::ENDPOINTS,
                "write the URLs of etcd, such as `endpoints = [\"http://127.0.0.1:2379\"]`",
            );
        }
        let endpoints: Vec<String> = endpoints
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .filter_map(|(at, endpoint)| {
                let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
                let expected = "an address that begins with http:// or https://";
                table.accept(
                    endpoint.span,
                    &format!("store.endpoints[{at}]"),
                    checked(endpoint.value, is_url, expected),
                )
            })
            .collect();
        let prefix = self.prefix(&table, &store::PREFIX);
        let user = table.text(&store::USER);
        let password = table.text(&store::PASSWORD_FILE).and_then(|file| self.named_file(&file, "store.password_file"));
        let user = match (user, password) {
            (Some(user), Some(password)) => {
                Some((user.value, String::from_utf8_lossy(&password).trim_end_matches(['\n', '\r']).to_owned()))
            }
            _ => None,
        };
        if table.has(&store::USER) && !table.has(&store::PASSWORD_FILE) {
            table.missing(&store::PASSWORD_FILE, "write the name of the file with the password of the user");
        }
        if table.has(&store::PASSWORD_FILE) && !table.has(&store::USER) {
            table.missing(&store::USER, "write the user of this password");
        }
        let is_secure = endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        if is_secure && !table.has(&store::CA) {
            table.missing(
                &store::CA,
                "write the name of the file with the certificate of the authority of etcd, as PEM",
            );
        }
        if !is_secure && !endpoints.is_empty() && table.has(&store::CA) && self.report.is_clean() {
            self.report.at_path("store.endpoints", "`store.endpoints` must begin with https:// to use `ca`", "here");
        }
        let tls = self.tls(&table, [&store::CA, &store::CERT, &store::KEY], false);
        let deadline = table.duration(&store::DEADLINE).unwrap_or(store::DEADLINE_DEFAULT).to_duration();
        table.finish();
        EtcdTable { endpoints, prefix, user, tls, deadline }
    }

    fn registry(&self, table: Section<'_>) -> RegistryTable {
        let enabled = table.boolean(&registry::ENABLED).unwrap_or(registry::ENABLED_DEFAULT);
        let prefix = self.prefix(&table, &registry::PREFIX);
        let keys = table.table(&registry::KEYS).map(key_names);
        table.finish();
        RegistryTable { enabled, prefix, keys }
    }

    fn peers(&self, table: Section<'_>) -> Option<PeersTable> {
        let listen = table
            .text(&peers::LISTEN)
            .and_then(|address| table.accept(address.span, "peers.listen", socket_address(&address.value)));
        if !table.has(&peers::LISTEN) {
            table.missing(
                &peers::LISTEN,
                "write the address where this server listens for the others, such as `listen = \"10.0.0.1:7443\"`",
            );
        }
        for (key, help) in [
            (&peers::CA, "write the name of the file with the certificate of the authority of all servers, as PEM"),
            (&peers::CERT, "write the name of the file with this server's certificate, as PEM"),
            (&peers::KEY, "write the name of the file with the key of this server's certificate, as PEM"),
        ] {
            if !table.has(key) {
                table.missing(key, help);
            }
        }
        let address = table.text(&peers::ADDRESS).map(|address| address.value);
        let is_anywhere = listen.is_some_and(|listen| listen.ip().is_unspecified());
        if is_anywhere && address.is_none() {
            table.missing(
                &peers::ADDRESS,
                "write the name and port by which the others reach it, since `listen` is for all addresses",
            );
        }
        let tls = self.tls(&table, [&peers::CA, &peers::CERT, &peers::KEY], true);
        table.finish();
        let listen = listen?;
        Some(PeersTable { listen, address: address.unwrap_or_else(|| listen.to_string()), tls: tls? })
    }

    /// The contents of the files named by the keys `ca`, `cert` and `key`.
    fn tls(&self, table: &Section<'_>, keys: [&'static Key; 3], needs_identity: bool) -> Option<TlsTable> {
        let [ca, certificate, key] = keys;
        if !needs_identity && table.has(certificate) != table.has(key) {
            let (missing, help) = if table.has(certificate) {
                (key, "write the name of the file with the key of `cert`, as PEM")
            } else {
                (certificate, "write the name of the file with the certificate of `key`, as PEM")
            };
            table.missing(missing, help);
        }
        let file = |key: &'static Key| table.text(key).and_then(|file| self.named_file(&file, &table.path(key)));
        let (ca, certificate, key) = (file(ca), file(certificate), file(key));
        Some(TlsTable { ca: ca?, identity: certificate.zip(key) })
    }

    fn prefix(&self, table: &Section<'_>, key: &'static Key) -> String {
        let Some(prefix) = table.text(key) else { return String::new() };
        let is_prefix = |text: &str| {
            text.is_empty() || (text.starts_with('/') && !text.ends_with('/') && text.len() <= PREFIX_BYTES_MAX)
        };
        let expected = "a path that begins with a slash and does not end with one, such as \"/team\"";
        let path = table.path(key);
        table.accept(prefix.span, &path, checked(prefix.value, is_prefix, expected)).unwrap_or_default()
    }

    /// Reads the contents of the file of that name.
    fn named_file(&self, name: &Located<String>, path: &str) -> Option<Vec<u8>> {
        let file = self.base.join(&name.value);
        let size = std::fs::metadata(&file).and_then(|metadata| {
            if metadata.len() > NAMED_FILE_BYTES_MAX || !metadata.is_file() {
                return Err(std::io::Error::other("it is not a file of at most 64 KiB"));
            }
            Ok(())
        });
        match size.and_then(|()| std::fs::read(&file)) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("`{path}`: {} cannot be read: {error}", file.display());
                self.report.at(name.span.clone(), message, "this file", None);
                None
            }
        }
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address and a port, such as \"0.0.0.0:80\" or \"[::]:80\""))
}

/// Reads a list of addresses with ports.
pub(super) fn addresses(table: &Section<'_>, key: &'static Key) -> Option<Vec<SocketAddr>> {
    let listen = table.texts(key)?;
    let path = table.path(key);
    let parsed = listen.into_iter().enumerate().filter_map(|(at, address)| {
        table.accept(address.span, &format!("{path}[{at}]"), socket_address(&address.value))
    });
    Some(parsed.collect())
}

fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(is_allowed)
}

/// Reads the facts that are published, each with the last part of its key.
fn key_names(table: Section<'_>) -> BTreeMap<String, String> {
    const EXPECTED: &str = "the last part of a key: letters, digits and any of -._/, such as \"port\"";
    let is_good = |c: u8| c.is_ascii_alphanumeric() || b"-._/".contains(&c);
    let is_key = |text: &str| {
        text.len() <= PREFIX_BYTES_MAX && text.bytes().all(is_good) && text.split('/').all(|part| !part.is_empty())
    };
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    for fact in registry_keys::TABLE.keys() {
        let Some(key) = table.text(fact) else { continue };
        let once = |key: String| match keys.iter().find(|(_, other)| **other == key) {
            Some((other, _)) => Err(format!("{key:?} is already the key of {other}")),
            None => Ok(key),
        };
        let good = checked(key.value, is_key, EXPECTED).and_then(once);
        keys.extend(table.accept(key.span, &table.path(fact), good).map(|key| (fact.name.to_owned(), key)));
    }
    table.finish();
    keys
}

pub(super) fn checked(text: String, is_good: impl Fn(&str) -> bool, expected: &str) -> Result<String, String> {
    if is_good(&text) { Ok(text) } else { Err(format!("{text:?} is not {expected}")) }
}

//! Small files around one key: each has what the key needs beside it.

use super::Key;
use crate::{LoadOptions, Secrets, parse, parse_server};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A folder with the files that examples name.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = ["shop", "smoke-test", "warm-up", "migrate"];
        let pages = ["error.html", "maintenance.html", ".env"];
        let keys = ["etcd-password", "etcd-ca.pem", "etcd-client.pem", "etcd-client-key.pem"];
        for name in programs.iter().chain(&pages).chain(&keys).chain(&["peers-ca.pem", "one.pem", "one-key.pem"]) {
            fs::write(folder.path().join(name), "").unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Folder(folder)
    }
}

pub(super) enum Document {
    App,
    Server,
}

impl Document {
    /// The meaning of `text`, or its errors.
    pub(super) fn read(&self, folder: &Folder, text: &str) -> Result<String, String> {
        let folder = folder.0.path();
        let options = LoadOptions { secrets: Secrets::NotNeeded, ..LoadOptions::default() };
        let read = match self {
            Document::App => parse(text, "gapless.toml", folder, &options).map(|loaded| format!("{:#?}", loaded.spec)),
            Document::Server => parse_server(text, "server.toml", folder).map(|file| format!("{file:#?}")),
        };
        read.map_err(|error| error.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// A file with `key = value` in the table of that path.
    pub(super) fn text(&self, table: &str, key: &Key, value: &str) -> String {
        self.around(table, key, value, &format!("{} = {value}\n", key.name))
    }

    /// The same file without the key.
    pub(super) fn without(&self, table: &str, key: &Key) -> String {
        self.around(table, key, "", "")
    }

    fn around(&self, table: &str, key: &Key, value: &str, line: &str) -> String {
        let beside = |lines: &[&str]| {
            let lines = lines.iter().filter(|line| line.split(" = ").next() != Some(key.name));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        };
        match self {
            Document::App => app(table, key.name, value, line, beside),
            Document::Server => server(table, key.name, line, beside),
        }
    }
}

const NAME: &str = "name = \"shop\"";
const IMAGE: &str = "image = \"shop:1\"";
const PORT: &str = "port = 3000";
const COMMAND: &str = "command = [\"./shop\"]";
const ENVIRONMENTS: &str = "[environments.test]\n[environments.production]\n";

fn app(table: &str, key: &str, value: &str, line: &str, beside: impl Fn(&[&str]) -> String) -> String {
    let top = format!("{NAME}\n{IMAGE}\n{PORT}\n");
    let is_service = table == "services.api";
    if table.is_empty() || is_service {
        let (runs, after): (&[&str], &str) = match (key, value) {
            ("directory", _) | ("runtime", "\"process\"" | "\"systemd\"") => (&[COMMAND], ""),
            ("strip", _) => (&[IMAGE, PORT, "path = \"/api\""], ""),
            ("promote", _) => (&[IMAGE, PORT, "requires = [\"test\"]"], ENVIRONMENTS),
            ("requires", _) => (&[IMAGE, PORT], ENVIRONMENTS),
            _ => (&[IMAGE, PORT], ""),
        };
        let routed = if is_service && key != "strip" { beside(&["path = \"/\""]) } else { String::new() };
        let runs = format!("{}{routed}{line}", beside(runs));
        let before = if is_service { format!("{NAME}\n[services.api]\n") } else { beside(&[NAME]) };
        return format!("{before}{runs}{after}");
    }
    // A service has the tables of the file.
    let (base, table) = match table.strip_prefix("services.api.") {
        Some(inner) => (format!("{NAME}\n[services.api]\npath = \"/\"\n{IMAGE}\n{PORT}\n"), inner),
        None => (top, table),
    };
    let header = |lists: bool| {
        let path = if base.contains("services") { format!("services.api.{table}") } else { table.to_owned() };
        if lists { format!("[[{path}]]\n") } else { format!("[{path}]\n") }
    };
    let inner: (String, &[&str]) = match (table, key) {
        ("routes", _) => (header(true), &[]),
        ("host_ports", _) => (header(false), &["blue = 9001", "green = 9002"]),
        ("health", "deadline") => (header(false), &[]),
        ("health", _) => (header(false), &["deadline = \"1h\""]),
        ("gates", "requests") => (header(true), &["name = \"smoke\""]),
        ("gates", _) => (header(true), &["name = \"smoke\"", COMMAND]),
        ("gates.requests", _) => ("[[gates]]\nname = \"smoke\"\n[[gates.requests]]\n".to_owned(), &[]),
        ("gates.load", _) => ("[[gates]]\nname = \"smoke\"\ntimeout = \"1d\"\n[gates.load]\n".to_owned(), &[]),
        ("hooks", _) => (header(true), &["name = \"hook\"", "at = \"after-cutover\"", COMMAND]),
        ("migrate", _) => (header(true), &["name = \"hook\"", "when = \"before\"", COMMAND]),
        ("hold", "timeout") => (header(false), &["drain = \"0s\""]),
        ("hold", _) => (header(false), &["timeout = \"1h\""]),
        ("strategy", "kind") if value == "\"blue-green\"" => (header(false), &[]),
        ("strategy", "kind") => (header(false), &["steps = [{ weight = \"10%\" }]"]),
        ("strategy", "header") => (header(false), &["by = \"hash\"", "steps = [{ weight = \"10%\" }]"]),
        ("strategy", "match") => (header(false), &["by = \"match\"", "steps = [{}]"]),
        ("strategy", "by") if value == "\"hash\"" => {
            (header(false), &["header = \"x-user\"", "steps = [{ weight = \"10%\" }]"])
        }
        ("strategy", "by") if value == "\"match\"" => {
            (header(false), &["match = [{ path = \"/new\" }]", "steps = [{}]"])
        }
        ("strategy", _) => (header(false), &["steps = [{ weight = \"10%\" }]"]),
        ("strategy.match", _) => {
            let lines: &[&str] = match key {
                "path" => &[],
                "cookie" => &["value = \"1\""],
                _ => &["header = \"x-beta\"", "value = \"1\""],
            };
            ("[strategy]\nby = \"match\"\nsteps = [{}]\n[[strategy.match]]\n".to_owned(), lines)
        }
        ("strategy.steps", _) => ("[[strategy.steps]]\n".to_owned(), &["weight = \"10%\""]),
        _ => (header(false), &[]),
    };
    format!("{base}{}{}{line}", inner.0, beside(inner.1))
}

fn server(table: &str, key: &str, line: &str, beside: impl Fn(&[&str]) -> String) -> String {
    const ETCD: &str = "[store]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:2379\"]\n";
    const PLAIN: &str = "endpoints = [\"http://127.0.0.1:2379\"]";
    const SECURE: &str = "endpoints = [\"https://127.0.0.1:2379\"]";
    const KIND: &str = "kind = \"etcd\"";
    let lines: &[&str] = match (table, key) {
        ("store", "kind") => {
            // SQLite has no further keys.
            return if line.contains("sqlite") {
                format!("[store]\n{line}")
            } else {
                format!("[store]\n{PLAIN}\n{line}")
            };
        }
        ("proxy", "kind") => &[],
        ("store", "user" | "password_file") => {
            &[KIND, PLAIN, "user = \"gapless\"", "password_file = \"etcd-password\""]
        }
        ("store", "endpoints") => &[KIND, "ca = \"etcd-ca.pem\""],
        ("store", "ca") => &[KIND, SECURE],
        ("store", "cert" | "key") => &[KIND, PLAIN, "cert = \"etcd-client.pem\"", "key = \"etcd-client-key.pem\""],
        ("store", _) => &[KIND, PLAIN],
        ("peers", _) => {
            &["listen = \"10.0.0.1:7443\"", "ca = \"peers-ca.pem\"", "cert = \"one.pem\"", "key = \"one-key.pem\""]
        }
        ("proxy", "container_config_dir") => &["kind = \"nginx\"", "container = \"nginx\""],
        ("proxy", _) => &["kind = \"nginx\""],
        _ => &[],
    };
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let store = if table == "peers" { ETCD } else { "" };
    format!("{store}{header}{}{line}", beside(lines))
}

//! The configuration in `server.toml`, and the errors of wrong files as users see them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gapless_config::{ConfigError, ProxyTable, StoreTable, load_server, parse_server};
use miette::{GraphicalReportHandler, GraphicalTheme};
use std::fs;
use std::path::Path;

fn rendered(error: &ConfigError) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut text, error)
        .unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn load_server_reads_every_key_and_debug_shows_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["password", "ca.pem", "cert.pem", "key.pem"] {
        fs::write(folder.path().join(name), format!("hunter2-{name}\n")).unwrap();
    }
    let text = r#"
name = "one"
listen = ["0.0.0.0:80", "[::]:80"]
state_dir = "state"
host_dir = "/srv/host"
socket = "/run/gapless.sock"
[store]
kind = "etcd"
endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379"]
prefix = "/team"
user = "gapless"
password_file = "password"
ca = "ca.pem"
cert = "cert.pem"
key = "key.pem"
deadline = "3s"
[registry]
enabled = true
prefix = "/services"
[registry.keys]
port = "http/port"
instance = "colour"
[peers]
listen = "10.0.0.1:7443"
address = "one.example:7443"
ca = "ca.pem"
cert = "cert.pem"
key = "key.pem"
"#;
    let path = folder.path().join("server.toml");
    fs::write(&path, text).unwrap();
    let file = load_server(&path).unwrap();
    assert_eq!(file.name.as_deref(), Some("one"));
    assert_eq!(file.listen.as_ref().map(Vec::len), Some(2));
    assert_eq!(file.state_dir, Some(folder.path().join("state")), "relative to the file");
    let StoreTable::Etcd(etcd) = &file.store else { panic!("{file:?}") };
    assert_eq!(etcd.user, Some(("gapless".to_owned(), "hunter2-password".to_owned())), "without the line's end");
    assert_eq!(etcd.tls.as_ref().unwrap().ca, b"hunter2-ca.pem\n");
    assert_eq!((etcd.prefix.as_str(), file.registry.prefix.as_str()), ("/team", "/services"));
    let keys = [("instance", "colour"), ("port", "http/port")].map(|(fact, key)| (fact.to_owned(), key.to_owned()));
    assert_eq!(file.registry.keys, Some(keys.into()));
    assert_eq!(file.peers.as_ref().unwrap().address, "one.example:7443");
    assert!(!format!("{file:?}").contains("hunter2"), "{file:?}");
}

#[test]
fn parse_server_uses_defaults_when_file_is_empty() {
    let file = parse_server("", "server.toml", Path::new("/etc/gapless")).unwrap();
    assert_eq!(file.store, StoreTable::Sqlite);
    assert!(file.registry.enabled && file.peers.is_none() && file.listen.is_none());
}

#[test]
fn parse_server_reports_errors_at_their_place() {
    let broken = r#"
name = "has space"
listen = ["0.0.0.0", 80]
statedir = "/x"
image = "shop:1"
[store]
kind = "etcd"
endpoint = ["http://127.0.0.1:2379"]
prefix = "team/"
user = "gapless"
cert = "none.pem"
[registry]
[registry.keys]
port = "a//b"
instance = "same"
hosts = "same"
colour = "colour"
[peers]
listen = "0.0.0.0:7443"
"#;
    let error = parse_server(broken, "server.toml", Path::new("/nowhere")).unwrap_err();
    insta::assert_snapshot!("broken_server_file", rendered(&error));
    for (text, expected) in [
        ("[store]\n", "kind"),
        ("[store]\nkind = \"consul\"\n", "sqlite"),
        ("[store]\nkind = \"sqlite\"\nendpoints = []\n", "endpoints"),
        ("[store]\nkind = \"etcd\"\nendpoints = [\"https://a:1\"]\n", "`store.ca`"),
        ("[peers]\nlisten = \"127.0.0.1:1\"\n", "a store that they share"),
        ("listen: 80\n", "YAML"),
    ] {
        let error = parse_server(text, "server.toml", Path::new("/nowhere")).unwrap_err();
        assert!(rendered(&error).contains(expected), "{}", rendered(&error));
    }
}

fn proxy(keys: &str) -> Result<ProxyTable, String> {
    let text = format!("[proxy]\nkind = \"nginx\"\n{keys}");
    parse_server(&text, "server.toml", Path::new("/etc/gapless"))
        .map(|file| file.proxy)
        .map_err(|error| rendered(&error))
}

#[test]
fn parse_server_reads_nginx_on_host_and_in_container() {
    let Ok(ProxyTable::Nginx(usual)) = proxy("template = \"nginx.tmpl\"\nbinary = \"sbin/nginx\"\n") else { panic!() };
    assert_eq!(usual.template.as_deref(), Some(Path::new("/etc/gapless/nginx.tmpl")));
    assert_eq!((usual.binary.as_path(), usual.container), (Path::new("/etc/gapless/sbin/nginx"), None));
    let keys =
        "container = \"web.1\"\nconfig = \"conf/nginx.conf\"\nconfig_dir = \"/srv/ng\"\nstatus = \"0.0.0.0:9180\"\n";
    let Ok(ProxyTable::Nginx(there)) = proxy(keys) else { panic!() };
    assert_eq!(there.container, Some(("web.1".to_owned(), "/srv/ng".into())), "mounted at the same place");
    assert_eq!(there.config, Path::new("conf/nginx.conf"), "nothing in a container is relative to a file of this host");
    let Ok(ProxyTable::Nginx(there)) = proxy("container = \"a\"\ncontainer_config_dir = \"/x\"\n") else { panic!() };
    assert_eq!(there.container, Some(("a".to_owned(), "/x".into())));
    for (keys, expected) in [
        ("container = \"-a b\"\n", "is not the name of a container"),
        ("container = \"a\"\npid_file = \"/run/nginx.pid\"\n", "is for an nginx on this host"),
        ("container = \"a\"\ncontainer_config_dir = \"x\"\n", "a path that begins with a slash"),
        ("container_config_dir = \"/x\"\n", "`proxy.container`"),
        ("status = \"0.0.0.0:9180\"\n", "is not a loopback address"),
        ("container = \"a\"\nstatus = \"10.0.0.1:9180\"\n", "neither a loopback address nor"),
    ] {
        let shown = proxy(keys).err().map(|shown| shown.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!(shown.as_ref().is_some_and(|shown| shown.contains(expected)), "{shown:?}");
    }
}

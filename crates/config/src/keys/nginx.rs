//! `[proxy]` of `server.toml`: the data plane that carries the requests of users.

use super::{Bounds, DefaultValue, Key, Kind, Table};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The folder of the configuration files of gapless. This and the other defaults are those of Debian's nginx.
pub(crate) const CONFIG_DIR_DEFAULT: &str = "/etc/nginx/gapless.d";

/// The program of nginx, looked up in PATH.
pub(crate) const BINARY_DEFAULT: &str = "nginx";

/// The main configuration of nginx.
pub(crate) const CONFIG_DEFAULT: &str = "/etc/nginx/nginx.conf";

/// The file with the process id of the master process.
pub(crate) const PID_FILE_DEFAULT: &str = "/run/nginx.pid";

/// The address where nginx reports its current configuration.
pub(crate) const STATUS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// Generations of workers that may be exiting at a time: each has as many processes as there are cores.
pub(crate) const WORKER_GENERATIONS_MAX_DEFAULT: u16 = 4;

pub(crate) static TABLE: Table = Table {
    schema_name: "NginxTable",
    doc: "The data plane that carries the requests of users.",
    groups: &[&[
        &KIND,
        &CONFIG_DIR,
        &BINARY,
        &CONFIG,
        &PID_FILE,
        &STATUS,
        &LISTEN,
        &WORKER_GENERATIONS_MAX,
        &TEMPLATE,
        &CONTAINER,
        &CONTAINER_CONFIG_DIR,
    ]],
};

pub(crate) static KIND: Key = Key {
    name: "kind",
    kind: Kind::Choice(&[
        ("gapless", "The proxy of gapless. It has no further keys."),
        ("nginx", "An nginx that is already there."),
    ]),
    default: DefaultValue::Required,
    example: r#""nginx""#,
    doc: "The kind of data plane.",
    when: "Required in `[proxy]`.",
};

pub(crate) static CONFIG_DIR: Key = Key {
    name: "config_dir",
    kind: Kind::Text,
    default: DefaultValue::Is(|| CONFIG_DIR_DEFAULT.into()),
    example: r#""/srv/nginx/gapless.d""#,
    doc: "The folder where gapless writes one file for each application. The configuration of nginx must include it.",
    when: "Set it when the configuration of nginx is elsewhere.",
};

pub(crate) static BINARY: Key = Key {
    name: "binary",
    kind: Kind::Text,
    default: DefaultValue::Is(|| BINARY_DEFAULT.into()),
    example: r#""/usr/local/sbin/nginx""#,
    doc: "The program of nginx, which tests configurations. A bare name is looked up in PATH; with `container`, it is \
     a path in the container.",
    when: "Set it when nginx is not in PATH.",
};

pub(crate) static CONFIG: Key = Key {
    name: "config",
    kind: Kind::Text,
    default: DefaultValue::Is(|| CONFIG_DEFAULT.into()),
    example: r#""/srv/nginx/nginx.conf""#,
    doc: "The main configuration of nginx; with `container`, a path in the container.",
    when: "Set it when nginx runs with another main configuration.",
};

pub(crate) static PID_FILE: Key = Key {
    name: "pid_file",
    kind: Kind::Text,
    default: DefaultValue::Is(|| PID_FILE_DEFAULT.into()),
    example: r#""/run/nginx/nginx.pid""#,
    doc: "The file where nginx writes the process id of its master process. Not with `container`.",
    when: "Set it to the value of `pid` in the configuration of nginx.",
};

pub(crate) static STATUS: Key = Key {
    name: "status",
    kind: Kind::Text,
    default: DefaultValue::Is(|| STATUS_DEFAULT.to_string().into()),
    example: r#""127.0.0.1:9181""#,
    doc: "The loopback address where nginx reports its current configuration. With `container` also an address such as \
     `0.0.0.0:9180`, for a container with a network of its own.",
    when: "Set it when the port is taken.",
};

pub(crate) static LISTEN: Key = Key {
    name: "listen",
    kind: Kind::Texts,
    default: DefaultValue::Described("the `listen` of the server"),
    example: r#"["0.0.0.0:80", "[::]:80"]"#,
    doc: "The addresses where nginx serves applications.",
    when: "Set it when nginx listens on other addresses than the server's `listen`.",
};

pub(crate) static WORKER_GENERATIONS_MAX: Key = Key {
    name: "worker_generations_max",
    kind: Kind::Number(Bounds::new(1, 65_535)),
    default: DefaultValue::Is(|| WORKER_GENERATIONS_MAX_DEFAULT.into()),
    example: "8",
    doc: "The number of generations of old workers that may live; further reloads wait.",
    when: "Raise it for frequent deployments with long requests; lower it to save memory.",
};

pub(crate) static TEMPLATE: Key = Key {
    name: "template",
    kind: Kind::Text,
    default: DefaultValue::Described("the template of gapless"),
    example: r#""nginx.tmpl""#,
    doc: "A Go `text/template` of your own for the file of each application.",
    when: "Set it when the generated configuration lacks directives that you need.",
};

pub(crate) static CONTAINER: Key = Key {
    name: "container",
    kind: Kind::Text,
    default: DefaultValue::Described("nginx runs on this host"),
    example: r#""nginx""#,
    doc: "The name of the container that nginx runs in.",
    when: "Set it when nginx runs in a container.",
};

pub(crate) static CONTAINER_CONFIG_DIR: Key = Key {
    name: "container_config_dir",
    kind: Kind::Text,
    default: DefaultValue::Described("the folder of `config_dir`"),
    example: r#""/etc/nginx/gapless.d""#,
    doc: "The folder in the container where `config_dir` is mounted.",
    when: "Set it when the container mounts `config_dir` at another path.",
};

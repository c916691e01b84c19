//! The keys that say what runs and how requests come to it: keys of the file and of each service.

use super::{Bounds, DefaultValue, Key, Kind, Table, health, size};
use gapless_core::spec::LogRotation;
use gapless_core::validate::REPLICAS_MAX;

/// The number of instances without `replicas`.
pub(crate) const REPLICAS_DEFAULT: u16 = 1;

/// All of them, in the order of the template and the reference page.
pub(crate) const KEYS: &[&Key] = &[
    &RUNTIME,
    &IMAGE,
    &PORT,
    &COMMAND,
    &ENTRYPOINT,
    &USER,
    &INIT,
    &DIRECTORY,
    &REPLICAS,
    &HOSTS,
    &ENV_FILES,
    &SECRETS,
    &VOLUMES,
    &ROUTES,
    &ENV,
    &RESOURCES,
    &HEALTH,
    &LOG,
    &HOST_PORTS,
];

pub(crate) static RUNTIME: Key = Key {
    name: "runtime",
    kind: Kind::Choice(&[
        ("docker", "Containers of the Docker Engine."),
        ("process", "Processes of the host."),
        ("systemd", "Services of the host's systemd."),
    ]),
    default: DefaultValue::Described("`docker` if there is an `image`, else `process`"),
    example: r#""docker""#,
    doc: "The runtime that starts and stops the instances.",
    when: "Set it to `\"systemd\"` to run processes as services of systemd.",
};

pub(crate) static IMAGE: Key = Key {
    name: "image",
    kind: Kind::Text,
    default: DefaultValue::Described("required for a container, unless `--image` gives it"),
    example: r#""shop:latest""#,
    doc: "The image to run, such as `shop:42` or `registry.example.com/shop@sha256:…`. `gapless deploy --image \
     shop:$VERSION` overrides it; `--image NAME=IMAGE` overrides that of one service.",
    when: "Set it to run a container.",
};

pub(crate) static PORT: Key = Key {
    name: "port",
    kind: Kind::Number(Bounds::new(1, 65_535)),
    default: DefaultValue::Described("required for a container that requests come to"),
    example: "3000",
    doc: "The port that the application listens on in its container. A process gets its port in the variable `PORT`.",
    when: "Set it for each container that answers requests.",
};

pub(crate) static COMMAND: Key = Key {
    name: "command",
    kind: Kind::Texts,
    default: DefaultValue::Described("the command of the image; required for a process"),
    example: r#"["./shop", "--port", "{port}"]"#,
    doc: "The program and its arguments; for a container, in place of the command of the image. A program with a \
          slash is looked up from the folder of this file, a bare name in PATH. Each process gets its port in the \
          variable `PORT`, and in place of `{port}` in an argument.",
    when: "Set it to run a process, or another command than that of the image.",
};

pub(crate) static ENTRYPOINT: Key = Key {
    name: "entrypoint",
    kind: Kind::Texts,
    default: DefaultValue::Described("the entrypoint of the image"),
    example: r#"["/entrypoint.sh"]"#,
    doc: "The entrypoint of the container, in place of that of the image.",
    when: "Set it when the entrypoint of the image does not suit.",
};

pub(crate) static USER: Key = Key {
    name: "user",
    kind: Kind::Text,
    default: DefaultValue::Described("the user of the image; for a process, the user of the server"),
    example: r#""1000:1000""#,
    doc: "The user in the container: `name` or `uid[:gid]`. For a process: the name of a user of the host.",
    when: "Set it to run without root's rights.",
};

pub(crate) static INIT: Key = Key {
    name: "init",
    kind: Kind::Boolean,
    default: DefaultValue::Is(|| false.into()),
    example: "true",
    doc: "Runs a small init as process 1 of the container.",
    when: "Set it for images whose own process 1 ignores signals or leaves zombies.",
};

pub(crate) static DIRECTORY: Key = Key {
    name: "directory",
    kind: Kind::Text,
    default: DefaultValue::Described("the folder of this file"),
    example: r#"".""#,
    doc: "The folder that a process runs in, relative to the folder of this file.",
    when: "Set it when the process finds its files by its working directory.",
};

pub(crate) static REPLICAS: Key = Key {
    name: "replicas",
    kind: Kind::Number(Bounds::new(1, REPLICAS_MAX as u64)),
    default: DefaultValue::Is(|| REPLICAS_DEFAULT.into()),
    example: "2",
    doc: "The number of instances that run side by side; all services together have at most 64.",
    when: "Raise it when one instance cannot serve all requests, or must be allowed to fail.",
};

pub(crate) static HOSTS: Key = Key {
    name: "hosts",
    kind: Kind::Texts,
    default: DefaultValue::Described("every host; for a service, the hosts of the file"),
    example: r#"["shop.example.com"]"#,
    doc: "The hosts whose requests come to the application: names, `*.example.com`, or `*` for every host.",
    when: "Set it when several applications share one server.",
};

pub(crate) static ENV_FILES: Key = Key {
    name: "env_files",
    kind: Kind::Texts,
    default: DefaultValue::Described("no files"),
    example: r#"[".env"]"#,
    doc: "Files of environment variables, `NAME=value` on each line, relative to the folder of this file. `[env]` \
     overrides them; later files override earlier ones.",
    when: "Set it to share variables with other tools.",
};

pub(crate) static SECRETS: Key = Key {
    name: "secrets",
    kind: Kind::Texts,
    default: DefaultValue::Described("no secrets"),
    example: r#"["DATABASE_PASSWORD"]"#,
    doc: "Variables whose values come from the environment of `gapless deploy`. Their values are never shown.",
    when: "Use it for passwords and tokens, which do not belong in this file.",
};

pub(crate) static VOLUMES: Key = Key {
    name: "volumes",
    kind: Kind::Texts,
    default: DefaultValue::Described("no mounts"),
    example: r#"["data:/data", "./config:/etc/shop:ro"]"#,
    doc: "The mounts of the container: `SOURCE:PATH`, or `SOURCE:PATH:ro` for read-only. A source is the name of a \
     volume, an absolute path, or a path that begins with `./`, relative to the folder of this file. Both slots have \
     the same volumes.",
    when: "Set it when data must outlive a release.",
};

pub(crate) static ROUTES: Key = Key {
    name: "routes",
    kind: Kind::Tables(&route::TABLE),
    default: DefaultValue::Described("the routes of `hosts`"),
    example: "",
    doc: "Routes by host and path, for applications that `hosts` alone does not describe. The longest prefix wins.",
    when: "Use it when an application serves only a part of a host.",
};

pub(crate) static ENV: Key = Key {
    name: "env",
    kind: Kind::Variables,
    default: DefaultValue::Described("no variables"),
    example: r#"{ LOG_LEVEL = "info" }"#,
    doc: "Environment variables of each instance: texts, numbers, `true` or `false`.",
    when: "Use it for settings that are no secrets.",
};

pub(crate) static RESOURCES: Key = Key {
    name: "resources",
    kind: Kind::Table(&resources::TABLE),
    default: DefaultValue::Described("no limits"),
    example: "",
    doc: "Limits on each instance.",
    when: "Set limits so that one application cannot starve the others of the host.",
};

pub(crate) static HEALTH: Key = Key {
    name: "health",
    kind: Kind::Table(&health::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "The health check of each instance: a GET, straight to the instance. A service that listens on no port is \
     healthy while it runs.",
    when: "Set its keys to the health endpoint of the application.",
};

pub(crate) static LOG: Key = Key {
    name: "log",
    kind: Kind::Table(&log::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "The space on disk for the output of each instance.",
    when: "Set its keys when the application logs much, or its logs must be kept longer.",
};

pub(crate) static HOST_PORTS: Key = Key {
    name: "host_ports",
    kind: Kind::Table(&host_ports::TABLE),
    default: DefaultValue::Described("free ports, chosen at each start"),
    example: "",
    doc: "Fixed ports on the host, one for each slot. Only with one instance.",
    when: "Set it when a program beside gapless must know the ports.",
};

/// Requests for one host, under one path.
pub(crate) mod route {
    use super::*;

    /// The host of a route without `host`.
    pub(crate) const HOST_DEFAULT: &str = "*";

    /// The prefix of a route without `path`.
    pub(crate) const PATH_DEFAULT: &str = "/";

    pub(crate) static TABLE: Table = Table {
        schema_name: "RouteTable",
        doc: "Requests for one host, under one path.",
        groups: &[&[&HOST, &PATH, &STRIP]],
    };

    pub(crate) static HOST: Key = Key {
        name: "host",
        kind: Kind::Text,
        default: DefaultValue::Is(|| HOST_DEFAULT.into()),
        example: r#""example.com""#,
        doc: "The host: a name, `*.example.com`, or `*` for every other host.",
        when: "Set it unless the route is for all hosts.",
    };

    pub(crate) static PATH: Key = Key {
        name: "path",
        kind: Kind::Text,
        default: DefaultValue::Is(|| PATH_DEFAULT.into()),
        example: r#""/shop""#,
        doc: "The path prefix, in whole segments: `/api` matches `/api` and `/api/x`, not `/apix`. The longest prefix \
         wins.",
        when: "Set it when the application serves only a part of the host.",
    };

    pub(crate) static STRIP: Key = Key {
        name: "strip",
        kind: Kind::Boolean,
        default: DefaultValue::Is(|| false.into()),
        example: "true",
        doc: "Removes the prefix before the request is forwarded.",
        when: "Set it when the application does not know the prefix that it is reached by.",
    };
}

/// Limits on each instance.
pub(crate) mod resources {
    use super::*;

    pub(crate) static TABLE: Table =
        Table { schema_name: "ResourcesTable", doc: "Limits on each instance.", groups: &[&[&MEMORY, &CPUS]] };

    pub(crate) static MEMORY: Key = Key {
        name: "memory",
        kind: Kind::Size(Bounds::new(6_291_456, 9_223_372_036_854_775_807)),
        default: DefaultValue::Described("no limit"),
        example: r#""512m""#,
        doc: "The memory of one instance. An instance that takes more is killed.",
        when: "Set it so that a leak stops one instance and not the host.",
    };

    pub(crate) static CPUS: Key = Key {
        name: "cpus",
        kind: Kind::Cpus,
        default: DefaultValue::Described("no limit"),
        example: "0.5",
        doc: "The processors that one instance may use.",
        when: "Set it when instances compete for processors.",
    };
}

/// The space on disk for the output of each instance.
pub(crate) mod log {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "LogTable",
        doc: "The space on disk for the output of each instance.",
        groups: &[&[&MAX_SIZE, &MAX_FILES]],
    };

    pub(crate) static MAX_SIZE: Key = Key {
        name: "max_size",
        kind: Kind::Size(Bounds::new(4096, 1_099_511_627_776)),
        default: DefaultValue::Is(|| size(LogRotation::default().file_bytes)),
        example: r#""50m""#,
        doc: "The size of one log file.",
        when: "Raise it when the logs of interest are overwritten too soon.",
    };

    pub(crate) static MAX_FILES: Key = Key {
        name: "max_files",
        kind: Kind::Number(Bounds::new(1, 100)),
        default: DefaultValue::Is(|| LogRotation::default().file_count.into()),
        example: "5",
        doc: "The number of log files that are kept.",
        when: "Raise it when the logs of interest are overwritten too soon.",
    };
}

/// Fixed ports on the host, one for each slot.
pub(crate) mod host_ports {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "HostPortsTable",
        doc: "Fixed ports on the host, one for each slot.",
        groups: &[&[&BLUE, &GREEN]],
    };

    pub(crate) static BLUE: Key = Key {
        name: "blue",
        kind: Kind::Number(Bounds::new(1, 65_535)),
        default: DefaultValue::Required,
        example: "9001",
        doc: "The port of the blue slot.",
        when: "Required: both slots run side by side during a deployment.",
    };

    pub(crate) static GREEN: Key = Key {
        name: "green",
        kind: Kind::Number(Bounds::new(1, 65_535)),
        default: DefaultValue::Required,
        example: "9002",
        doc: "The port of the green slot.",
        when: "Required: both slots run side by side during a deployment.",
    };
}

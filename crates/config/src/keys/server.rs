//! The keys of `server.toml`.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration, nginx};
use gapless_core::Millis;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of the proxy without `listen`.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);

pub(crate) static TABLE: Table = Table {
    schema_name: "ServerFile",
    doc: "The settings of the server itself.",
    groups: &[&[&NAME, &LISTEN, &STATE_DIR, &HOST_DIR, &SOCKET, &STORE, &REGISTRY, &PROXY, &PEERS]],
};

pub(crate) static NAME: Key = Key {
    name: "name",
    kind: Kind::Text,
    default: DefaultValue::Described("the host name"),
    example: r#""one""#,
    doc: "The name of this server among several: 1 to 253 letters, digits, `.`, `_` and `-`.",
    when: "Set it when several servers share one etcd on the same host.",
};

pub(crate) static LISTEN: Key = Key {
    name: "listen",
    kind: Kind::Texts,
    default: DefaultValue::Is(|| Value::from([LISTEN_DEFAULT.to_string()])),
    example: r#"["0.0.0.0:80", "[::]:80"]"#,
    doc: "The addresses and ports of the proxy.",
    when: "Set it to listen on other addresses or ports, also for IPv6.",
};

pub(crate) static STATE_DIR: Key = Key {
    name: "state_dir",
    kind: Kind::Text,
    default: DefaultValue::Described(
        "`/var/lib/gapless` for root, else `$XDG_STATE_HOME/gapless` or `~/.local/state/gapless`",
    ),
    example: r#""/var/lib/gapless""#,
    doc: "The folder of the state that must survive restarts. Each server needs its own.",
    when: "Set it to keep the state on another disk.",
};

pub(crate) static HOST_DIR: Key = Key {
    name: "host_dir",
    kind: Kind::Text,
    default: DefaultValue::Described("the folder of `state_dir`"),
    example: r#""/var/lib/gapless-host""#,
    doc: "The folder of the host's proxy and processes.",
    when: "Set it to the same folder for all servers of one host.",
};

pub(crate) static SOCKET: Key = Key {
    name: "socket",
    kind: Kind::Text,
    default: DefaultValue::Described(
        "`/run/gapless/gapless.sock`; for users other than root `$XDG_RUNTIME_DIR/gapless/gapless.sock`",
    ),
    example: r#""/run/gapless/gapless.sock""#,
    doc: "The socket of the API.",
    when: "Set it when several servers run on one host; `GAPLESS_SOCKET` names it to the commands.",
};

pub(crate) static STORE: Key = Key {
    name: "store",
    kind: Kind::Table(&store::TABLE),
    default: DefaultValue::Described("`kind = \"sqlite\"`"),
    example: "",
    doc: "The store of the records.",
    when: "Set it when several servers share an etcd.",
};

pub(crate) static REGISTRY: Key = Key {
    name: "registry",
    kind: Kind::Table(&registry::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "The facts about live applications that are published as plain keys.",
    when: "Set its keys when other programs read the facts by certain names, or none may be published.",
};

pub(crate) static PROXY: Key = Key {
    name: "proxy",
    kind: Kind::Table(&nginx::TABLE),
    default: DefaultValue::Described("`kind = \"gapless\"`"),
    example: "",
    doc: "The data plane that carries the requests of users.",
    when: "Set it when an nginx that is already there must carry the requests.",
};

pub(crate) static PEERS: Key = Key {
    name: "peers",
    kind: Kind::Table(&peers::TABLE),
    default: DefaultValue::Described("servers of one host use each other's API sockets"),
    example: "",
    doc: "The connections between servers that share an etcd.",
    when: "Set it when the servers run on several hosts.",
};

/// The store of the records.
pub(crate) mod store {
    use super::*;

    /// The longest time of one call without `deadline`.
    pub(crate) const DEADLINE_DEFAULT: Millis = Millis::from_secs(5);

    pub(crate) static TABLE: Table = Table {
        schema_name: "StoreTable",
        doc: "The store of the records.",
        groups: &[&[&KIND, &ENDPOINTS, &PREFIX, &USER, &PASSWORD_FILE, &CA, &CERT, &KEY, &DEADLINE]],
    };

    pub(crate) static KIND: Key = Key {
        name: "kind",
        kind: Kind::Choice(&[
            ("sqlite", "A file in the folder of `state_dir`, for one server. It has no further keys."),
            ("etcd", "An etcd that several servers share."),
        ]),
        default: DefaultValue::Required,
        example: r#""etcd""#,
        doc: "The kind of store.",
        when: "Required in `[store]`: choose `\"etcd\"` for several servers.",
    };

    pub(crate) static ENDPOINTS: Key = Key {
        name: "endpoints",
        kind: Kind::Texts,
        default: DefaultValue::Described("required with `kind = \"etcd\"`"),
        example: r#"["https://10.0.0.1:2379", "https://10.0.0.2:2379"]"#,
        doc: "The client URLs of the members of etcd, with `http://` or `https://`.",
        when: "Name all members, so that the loss of one does not matter.",
    };

    pub(crate) static PREFIX: Key = Key {
        name: "prefix",
        kind: Kind::Text,
        default: DefaultValue::Is(|| "".into()),
        example: r#""/team""#,
        doc: "The prefix of the keys of gapless, which begin with `/gapless/`: a path of at most 200 bytes without a slash \
         at its end.",
        when: "Set it when several installations share one etcd.",
    };

    pub(crate) static USER: Key = Key {
        name: "user",
        kind: Kind::Text,
        default: DefaultValue::Described("no user"),
        example: r#""gapless""#,
        doc: "The user of etcd, together with `password_file`.",
        when: "Set it when etcd has authentication enabled.",
    };

    pub(crate) static PASSWORD_FILE: Key = Key {
        name: "password_file",
        kind: Kind::Text,
        default: DefaultValue::Described("no password"),
        example: r#""etcd-password""#,
        doc: "The file with the password of `user`.",
        when: "Required with `user`.",
    };

    pub(crate) static CA: Key = Key {
        name: "ca",
        kind: Kind::Text,
        default: DefaultValue::Described("required with `https://`"),
        example: r#""etcd-ca.pem""#,
        doc: "The file with the certificate of the authority that signed etcd's certificates, as PEM.",
        when: "Required with `https://`.",
    };

    pub(crate) static CERT: Key = Key {
        name: "cert",
        kind: Kind::Text,
        default: DefaultValue::Described("no client certificate"),
        example: r#""etcd-client.pem""#,
        doc: "The file with the client certificate, as PEM.",
        when: "Set it together with `key` when etcd asks for client certificates.",
    };

    pub(crate) static KEY: Key = Key {
        name: "key",
        kind: Kind::Text,
        default: DefaultValue::Described("no client certificate"),
        example: r#""etcd-client-key.pem""#,
        doc: "The file with the key of `cert`, as PEM.",
        when: "Required with `cert`.",
    };

    pub(crate) static DEADLINE: Key = Key {
        name: "deadline",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Is(|| duration(DEADLINE_DEFAULT)),
        example: r#""3s""#,
        doc: "The longest time of one call to etcd.",
        when: "Raise it for an etcd that is far away or slow.",
    };
}

/// The facts about live applications that are published as plain keys.
pub(crate) mod registry {
    use super::*;

    /// Facts are published without `enabled`.
    pub(crate) const ENABLED_DEFAULT: bool = true;

    pub(crate) static TABLE: Table = Table {
        schema_name: "RegistryTable",
        doc: "The facts about live applications that are published as plain keys.",
        groups: &[&[&ENABLED, &PREFIX, &KEYS]],
    };

    pub(crate) static ENABLED: Key = Key {
        name: "enabled",
        kind: Kind::Boolean,
        default: DefaultValue::Is(|| ENABLED_DEFAULT.into()),
        example: "false",
        doc: "Publishes the facts.",
        when: "Set it to `false` when no other program reads them.",
    };

    pub(crate) static PREFIX: Key = Key {
        name: "prefix",
        kind: Kind::Text,
        default: DefaultValue::Is(|| "".into()),
        example: r#""/services""#,
        doc: "The prefix of the published keys, before the name of the application: a path of at most 200 bytes without a \
         slash at its end.",
        when: "Set it when the names of applications clash with other keys of the store.",
    };

    pub(crate) static KEYS: Key = Key {
        name: "keys",
        kind: Kind::Table(&registry_keys::TABLE),
        default: DefaultValue::Described("all facts, by their own names"),
        example: "",
        doc: "The facts that are published, and the last part of their keys. Facts that are not named are not published.",
        when: "Use it when other programs expect certain keys.",
    };
}

/// The facts that are published, each with the last part of its key: letters, digits and any of `-._/`, at most 200 bytes.
pub(crate) mod registry_keys {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "RegistryKeysTable",
        doc: "The facts that are published, each with the last part of its key: letters, digits and any of `-._/`, at most \
         200 bytes.",
        groups: &[&[&PORT, &INSTANCE, &HOSTS, &ADDRESSES, &RELEASE, &DIGEST]],
    };

    pub(crate) static PORT: Key = Key {
        name: "port",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""http/port""#,
        doc: "The port of the live slot with `[host_ports]`, else the port of its first instance.",
        when: "Name it for programs that reach the application on this host.",
    };

    pub(crate) static INSTANCE: Key = Key {
        name: "instance",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""colour""#,
        doc: "The live slot: `blue` or `green`.",
        when: "Name it for programs that depend on the slot.",
    };

    pub(crate) static HOSTS: Key = Key {
        name: "hosts",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""hosts""#,
        doc: "The hosts, separated by commas; `*` is every host.",
        when: "Name it for programs that configure DNS or another proxy.",
    };

    pub(crate) static ADDRESSES: Key = Key {
        name: "addresses",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""addresses""#,
        doc: "The addresses of the instances, separated by commas.",
        when: "Name it for programs that reach the instances themselves.",
    };

    pub(crate) static RELEASE: Key = Key {
        name: "release",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""release""#,
        doc: "The number of the live release.",
        when: "Name it for dashboards and audits.",
    };

    pub(crate) static DIGEST: Key = Key {
        name: "digest",
        kind: Kind::Text,
        default: DefaultValue::Described("not published"),
        example: r#""digest""#,
        doc: "The digest of the image, or the checksum of the program.",
        when: "Name it for dashboards and audits.",
    };
}

/// The connections between servers that share an etcd: TLS 1.2 or 1.3, each side with a certificate that `ca` has signed.
pub(crate) mod peers {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "PeersTable",
        doc: "The connections between servers that share an etcd: TLS 1.2 or 1.3, each side with a certificate that `ca` \
         has signed.",
        groups: &[&[&LISTEN, &ADDRESS, &CA, &CERT, &KEY]],
    };

    pub(crate) static LISTEN: Key = Key {
        name: "listen",
        kind: Kind::Text,
        default: DefaultValue::Required,
        example: r#""10.0.0.1:7443""#,
        doc: "The address and port where this server listens for the others.",
        when: "Required in `[peers]`.",
    };

    pub(crate) static ADDRESS: Key = Key {
        name: "address",
        kind: Kind::Text,
        default: DefaultValue::Described("the value of `listen`"),
        example: r#""one.example:7443""#,
        doc: "The name or address, and port, by which the others reach this server. The certificate must be valid for it.",
        when: "Required when `listen` is an address such as `0.0.0.0`.",
    };

    pub(crate) static CA: Key = Key {
        name: "ca",
        kind: Kind::Text,
        default: DefaultValue::Required,
        example: r#""peers-ca.pem""#,
        doc: "The file with the certificate of the authority that signed the certificates of all servers, as PEM.",
        when: "Required in `[peers]`.",
    };

    pub(crate) static CERT: Key = Key {
        name: "cert",
        kind: Kind::Text,
        default: DefaultValue::Required,
        example: r#""one.pem""#,
        doc: "The file with the certificate of this server, as PEM.",
        when: "Required in `[peers]`.",
    };

    pub(crate) static KEY: Key = Key {
        name: "key",
        kind: Kind::Text,
        default: DefaultValue::Required,
        example: r#""one-key.pem""#,
        doc: "The file with the key of `cert`, as PEM.",
        when: "Required in `[peers]`.",
    };
}

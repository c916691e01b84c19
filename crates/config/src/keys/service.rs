//! `[services.NAME]`: the keys that route requests to one of several services.

use super::{DefaultValue, Key, Kind, Table, workload};

pub(crate) static TABLE: Table = Table {
    schema_name: "ServiceTable",
    doc: "One service of several. It inherits the keys that it does not have from the file, `[env]` and the other \
     tables key by key; `port` and `[health]` only if requests come to it.",
    groups: &[&[&PATH, &STRIP], workload::KEYS],
};

pub(crate) static PATH: Key = Key {
    name: "path",
    kind: Kind::Text,
    default: DefaultValue::Described("a service without `path`, `hosts` and `routes` gets no requests from outside"),
    example: r#""/api""#,
    doc: "The path prefix, in whole segments, of the requests for this service, on each host. At the top of the file, \
     where there are no services: the prefix of the application.",
    when: "Set it on each service that users reach.",
};

pub(crate) static STRIP: Key = Key {
    name: "strip",
    kind: Kind::Boolean,
    default: DefaultValue::Is(|| false.into()),
    example: "true",
    doc: "Removes the prefix of `path` before the request is forwarded.",
    when: "Set it when the service does not know the prefix that it is reached by.",
};

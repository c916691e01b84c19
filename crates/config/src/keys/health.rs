//! `[health]`: the health check of each instance.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration, statuses};
use gapless_core::spec::HealthCheck;

pub(crate) static TABLE: Table = Table {
    schema_name: "HealthTable",
    doc: "The health check of each instance: a GET, straight to the instance. A service that listens on no port is \
     healthy while it runs.",
    groups: &[&[&PATH, &SETTLE, &PORT, &STATUSES, &HOST, &INTERVAL, &TIMEOUT, &PASSES, &FAILURES, &DEADLINE]],
};

pub(crate) static PATH: Key = Key {
    name: "path",
    kind: Kind::Path,
    default: DefaultValue::Is(|| HealthCheck::default().path.into()),
    example: r#""/healthz""#,
    doc: "The path of the health check.",
    when: "Set it to an endpoint that is healthy only when the application can serve requests.",
};

pub(crate) static SETTLE: Key = Key {
    name: "settle",
    kind: Kind::Duration(Bounds::new(0, 3_600_000)),
    default: DefaultValue::Is(|| duration(HealthCheck::default().settle)),
    example: r#""3s""#,
    doc: "The time that an instance of a service that listens on no port must have run to be healthy; at most \
     `deadline`.",
    when: "Raise it when a worker that cannot start takes longer to exit.",
};

pub(crate) static PORT: Key = Key {
    name: "port",
    kind: Kind::Number(Bounds::new(1, 65_535)),
    default: DefaultValue::Described("the port of the application"),
    example: "3000",
    doc: "The port of the health check, if it is not that of the application.",
    when: "Set it when the health endpoint has a port of its own.",
};

pub(crate) static STATUSES: Key = Key {
    name: "statuses",
    kind: Kind::Statuses,
    default: DefaultValue::Is(|| statuses(&HealthCheck::default().statuses)),
    example: r#""200-399""#,
    doc: "The statuses that mean healthy, from 200 to 599: a list such as `[200, 204]`, or a range such as \
     `\"200-399\"`.",
    when: "Set it when the health endpoint answers with a redirect, or an error status means healthy.",
};

pub(crate) static HOST: Key = Key {
    name: "host",
    kind: Kind::Text,
    default: DefaultValue::Described("the address of the instance"),
    example: r#""shop.example.com""#,
    doc: "The Host header of the health check.",
    when: "Set it when the application answers only requests for its own host names.",
};

pub(crate) static INTERVAL: Key = Key {
    name: "interval",
    kind: Kind::Duration(Bounds::new(1, 60_000)),
    default: DefaultValue::Is(|| duration(HealthCheck::default().interval)),
    example: r#""250ms""#,
    doc: "The longest wait between two checks; at most `deadline`. While an instance starts, checks begin 2 ms apart \
     and the wait grows to this value.",
    when: "Lower it to notice a failed instance sooner; raise it if the check is expensive.",
};

pub(crate) static TIMEOUT: Key = Key {
    name: "timeout",
    kind: Kind::Duration(Bounds::new(1, 300_000)),
    default: DefaultValue::Is(|| duration(HealthCheck::default().timeout)),
    example: r#""2s""#,
    doc: "The longest time that one check may take; at most `deadline`.",
    when: "Raise it if a healthy instance can take longer to answer.",
};

pub(crate) static PASSES: Key = Key {
    name: "passes",
    kind: Kind::Number(Bounds::new(1, 100)),
    default: DefaultValue::Is(|| HealthCheck::default().passes.into()),
    example: "2",
    doc: "The number of checks in a row that must pass before an instance takes requests.",
    when: "Raise it if the first good answer does not mean that the instance is ready.",
};

pub(crate) static FAILURES: Key = Key {
    name: "failures",
    kind: Kind::Number(Bounds::new(1, 100)),
    default: DefaultValue::Is(|| HealthCheck::default().failures.into()),
    example: "5",
    doc: "The number of checks in a row that must fail before a live instance is taken out of rotation.",
    when: "Raise it if single checks fail under load.",
};

pub(crate) static DEADLINE: Key = Key {
    name: "deadline",
    kind: Kind::Duration(Bounds::new(1, 3_600_000)),
    default: DefaultValue::Is(|| duration(HealthCheck::default().deadline)),
    example: r#""2m""#,
    doc: "The time that a starting instance has to become healthy. If the time runs out, the deployment fails and the \
     old release keeps serving.",
    when: "Raise it for applications that start slowly.",
};

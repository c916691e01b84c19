//! The keys at the top of `gapless.toml`, before any table.

use super::gates::approval;
use super::hooks::{hold, maintenance, migrate};
use super::strategy::judge;
use super::traffic::{deploy, proxy};
use super::{DefaultValue, Key, Kind, Table, gates, hooks, service, strategy, workload};

/// The value of `promote` without the key.
pub(crate) const PROMOTE_DEFAULT: &str = "manual";

pub(crate) static TABLE: Table = Table {
    schema_name: "File",
    doc: "What gapless deploys, and how.",
    groups: &[
        &[&NAME],
        workload::KEYS,
        &[&service::PATH, &service::STRIP],
        &[
            &SERVICES,
            &PROXY,
            &DEPLOY,
            &GATES,
            &APPROVAL,
            &HOOKS,
            &MIGRATE,
            &HOLD,
            &MAINTENANCE,
            &STRATEGY,
            &JUDGE,
            &REQUIRES,
            &PROMOTE,
            &ENVIRONMENTS,
        ],
    ],
};

pub(crate) static NAME: Key = Key {
    name: "name",
    kind: Kind::Name,
    default: DefaultValue::Required,
    example: r#""shop""#,
    doc: "The application's name: 1 to 63 lower-case letters, digits and hyphens.",
    when: "Required: every command, route and record refers to the application by this name.",
};

pub(crate) static SERVICES: Key = Key {
    name: "services",
    kind: Kind::Named(&service::TABLE),
    default: DefaultValue::Described("one service, described by the file itself"),
    example: "",
    doc: "The services of the application, if there is more than one. `[services.api]` has the keys of the file that \
     say what runs, and inherits the keys that it does not have. Services are deployed together and reach each other \
     by name in their slot.",
    when: "Use it when a release of one service is always a release of the others, such as a front end and its API.",
};

pub(crate) static PROXY: Key = Key {
    name: "proxy",
    kind: Kind::Table(&proxy::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "Forwarding of requests, and the answers when forwarding fails.",
    when: "Set its keys when the application is slow to answer, or another proxy stands in front.",
};

pub(crate) static DEPLOY: Key = Key {
    name: "deploy",
    kind: Kind::Table(&deploy::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "The deadlines of a deployment.",
    when: "Set its keys when the application takes long to start, drain or stop.",
};

pub(crate) static GATES: Key = Key {
    name: "gates",
    kind: Kind::Tables(&gates::TABLE),
    default: DefaultValue::Described("no gates"),
    example: "",
    doc: "Tests that a release must pass between its health checks and its cutover, one after the other.",
    when: "Use gates to test each release in place, while no user can reach it.",
};

pub(crate) static APPROVAL: Key = Key {
    name: "approval",
    kind: Kind::Table(&approval::TABLE),
    default: DefaultValue::Described("no approval needed"),
    example: "",
    doc: "The approvals by people that a release needs before its cutover.",
    when: "Use it when a person must confirm each release.",
};

pub(crate) static HOOKS: Key = Key {
    name: "hooks",
    kind: Kind::Tables(&hooks::TABLE),
    default: DefaultValue::Described("no hooks"),
    example: "",
    doc: "Commands that run once in each deployment, at a given point.",
    when: "Use hooks to warm caches, notify other systems or clean up.",
};

pub(crate) static MIGRATE: Key = Key {
    name: "migrate",
    kind: Kind::Tables(&migrate::TABLE),
    default: DefaultValue::Described("no migrations"),
    example: "",
    doc: "Changes that a release needs, such as those of a database schema. Each migration runs once in each \
     deployment, before the hooks of the same point, and must tolerate running again in the next deployment.",
    when: "Use it so that a rollback knows how to undo the change.",
};

pub(crate) static HOLD: Key = Key {
    name: "hold",
    kind: Kind::Table(&hold::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "Limits on the requests that wait during a migration with `when = \"held\"`.",
    when: "Set its keys when held migrations take longer, or more requests must wait, than the defaults allow.",
};

pub(crate) static MAINTENANCE: Key = Key {
    name: "maintenance",
    kind: Kind::Table(&maintenance::TABLE),
    default: DefaultValue::Described("a short page of gapless"),
    example: "",
    doc: "The answer while `gapless maintenance on` is in effect.",
    when: "Use it to show your own page during maintenance.",
};

pub(crate) static STRATEGY: Key = Key {
    name: "strategy",
    kind: Kind::Table(&strategy::TABLE),
    default: DefaultValue::Described("`kind = \"blue-green\"`"),
    example: "",
    doc: "The way in which requests move to a new release: all at one instant, or a share of them first.",
    when: "Use a canary when only real traffic shows whether a release is good.",
};

pub(crate) static JUDGE: Key = Key {
    name: "judge",
    kind: Kind::Table(&judge::TABLE),
    default: DefaultValue::Described("the defaults of its keys"),
    example: "",
    doc: "The evidence that sends requests back to the old release while a new release is watched.",
    when: "Set its keys to bound errors and latencies, or to make the comparison with the old release stricter.",
};

pub(crate) static REQUIRES: Key = Key {
    name: "requires",
    kind: Kind::Texts,
    default: DefaultValue::Described("no environment"),
    example: r#"["test"]"#,
    doc: "The environments in which a release must have succeeded before this environment takes it.",
    when: "Set it so that production takes only releases that have succeeded in a test environment.",
};

pub(crate) static PROMOTE: Key = Key {
    name: "promote",
    kind: Kind::Choice(&[
        ("manual", "By `gapless promote`: continuous delivery."),
        ("auto", "By itself: continuous deployment."),
    ]),
    default: DefaultValue::Is(|| PROMOTE_DEFAULT.into()),
    example: r#""auto""#,
    doc: "The way in which a release that has succeeded in the environments of `requires` comes into this environment.",
    when: "Set it to `\"auto\"` for continuous deployment.",
};

pub(crate) static ENVIRONMENTS: Key = Key {
    name: "environments",
    kind: Kind::Environments(&TABLE),
    default: DefaultValue::Described("one environment, `production`"),
    example: "",
    doc: "Differences between environments. `[environments.test]` has the same keys as the file, except for `name` and \
     `environments`, and inherits the keys that it does not have; `[env]` and the other tables are inherited key by \
     key, `[strategy]` as a whole.",
    when: "Use it when the same file serves several environments.",
};

//! `[[hooks]]`, `[[migrate]]`, `[hold]` and `[maintenance]`: commands of a deployment, and requests meanwhile.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration, size};
use gapless_core::Millis;
use gapless_core::spec::HoldSettings;

/// The longest time of a hook or migration without `timeout`.
pub(crate) const TIMEOUT_DEFAULT: Millis = Millis::from_secs(300);

/// The longest time of a migration with `when = "held"` without `timeout`: users wait for it.
pub(crate) const HELD_TIMEOUT_DEFAULT: Millis = Millis::from_secs(30);

pub(crate) static TABLE: Table = Table {
    schema_name: "HookTable",
    doc: "A command that runs once in each deployment: a `command`, or a container of an `image`.",
    groups: &[&[&NAME, &AT, &COMMAND, &USER, &IMAGE, &TIMEOUT]],
};

pub(crate) static NAME: Key = Key {
    name: "name",
    kind: Kind::Name,
    default: DefaultValue::Required,
    example: r#""warm-up""#,
    doc: "The name: 1 to 63 lower-case letters, digits and hyphens. Each gate, hook and migration has a name of its \
     own.",
    when: "Required: progress, errors and rollbacks refer to it.",
};

pub(crate) static AT: Key = Key {
    name: "at",
    kind: Kind::Choice(&[
        ("before-start", "The release is fetched, and nothing of it runs yet."),
        ("before-cutover", "The release has passed its gates and approvals; the old release serves."),
        ("after-cutover", "The release has just got all requests; if the hook fails, they go back."),
        ("after-success", "The release stays; if the hook fails, there is a warning."),
        ("on-failure", "The deployment has failed, or its release was reverted."),
    ]),
    default: DefaultValue::Required,
    example: r#""after-cutover""#,
    doc: "The point of the deployment.",
    when: "Required: choose the point by what must already have happened, and by what a failure should do.",
};

pub(crate) static COMMAND: Key = Key {
    name: "command",
    kind: Kind::Texts,
    default: DefaultValue::Described("the command of the `image`"),
    example: r#"["./warm-up"]"#,
    doc: "The program and its arguments, run on the host of the server; with an `image`, in place of the command of \
     the image.",
    when: "Use it for a program on the host.",
};

pub(crate) static USER: Key = Key {
    name: "user",
    kind: Kind::Text,
    default: DefaultValue::Described("`nobody` if the server is root, else the user of the server"),
    example: r#""tester""#,
    doc: "The user that the program runs as.",
    when: "Set it when the program needs files or rights of a certain user.",
};

pub(crate) static IMAGE: Key = Key {
    name: "image",
    kind: Kind::Text,
    default: DefaultValue::Described("no container"),
    example: r#""shop-tools:latest""#,
    doc: "The image of a container that runs to its end.",
    when: "Use it for tools that come as an image, and for migrations that are part of the image of the application.",
};

pub(crate) static TIMEOUT: Key = Key {
    name: "timeout",
    kind: Kind::Duration(Bounds::new(1000, 86_400_000)),
    default: DefaultValue::Is(|| duration(TIMEOUT_DEFAULT)),
    example: r#""1m""#,
    doc: "The longest time that the hook may take.",
    when: "Raise it for long tasks, lower it to fail sooner.",
};

/// A change that a release needs: a `command`, or a container of an `image`.
pub(crate) mod migrate {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "MigrationTable",
        doc: "A change that a release needs: a `command`, or a container of an `image`.",
        groups: &[&[&super::NAME, &WHEN, &super::COMMAND, &BACK, &super::USER, &super::IMAGE, &TIMEOUT]],
    };

    pub(crate) static WHEN: Key = Key {
        name: "when",
        kind: Kind::Choice(&[
            ("before", "Before the cutover, while the old release serves: both releases must tolerate the change."),
            ("held", "While no release serves: new requests wait in the proxy and then go to the new release."),
            ("after", "After the new release has succeeded."),
        ]),
        default: DefaultValue::Required,
        example: r#""before""#,
        doc: "The point of the deployment.",
        when: "Required: use `\"held\"` only for changes that old and new release cannot both tolerate.",
    };

    pub(crate) static BACK: Key = Key {
        name: "back",
        kind: Kind::Texts,
        default: DefaultValue::Described("a rollback past the migration needs `--force`"),
        example: r#"["./migrate", "--back"]"#,
        doc: "The command that undoes the migration, in the same form as `command`. A rollback past the migration runs it.",
        when: "Set it for each migration that can be undone.",
    };

    pub(crate) static TIMEOUT: Key = Key {
        name: "timeout",
        kind: Kind::Duration(Bounds::new(1000, 86_400_000)),
        default: DefaultValue::Described("`\"5m\"`; `\"30s\"` with `when = \"held\"`"),
        example: r#""20s""#,
        doc: "The longest time that the migration may take; with `when = \"held\"` at most `hold.timeout`.",
        when: "Raise it for migrations of large tables.",
    };
}

/// Limits on the requests that wait during a migration with `when = "held"`.
pub(crate) mod hold {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "HoldTable",
        doc: "Limits on the requests that wait during a migration with `when = \"held\"`.",
        groups: &[&[&TIMEOUT, &DRAIN, &REQUESTS_MAX, &BYTES_MAX]],
    };

    pub(crate) static TIMEOUT: Key = Key {
        name: "timeout",
        kind: Kind::Duration(Bounds::new(1000, 3_600_000)),
        default: DefaultValue::Is(|| duration(HoldSettings::default().timeout)),
        example: r#""1m""#,
        doc: "The longest time that a request waits; then it is answered with 503. The migration must end within this \
         time.",
        when: "Raise it for migrations that take longer, if users rather wait than see an error.",
    };

    pub(crate) static DRAIN: Key = Key {
        name: "drain",
        kind: Kind::Duration(Bounds::new(0, 3_600_000)),
        default: DefaultValue::Is(|| duration(HoldSettings::default().drain)),
        example: r#""10s""#,
        doc: "The time for earlier requests to finish before the migration starts without them; at most `timeout`.",
        when: "Raise it if requests that are cut off do harm.",
    };

    pub(crate) static REQUESTS_MAX: Key = Key {
        name: "requests_max",
        kind: Kind::Number(Bounds::new(1, 1_000_000)),
        default: DefaultValue::Is(|| HoldSettings::default().requests_max.into()),
        example: "1000",
        doc: "The number of requests that wait; further requests are answered with 503.",
        when: "Lower it on hosts with little memory.",
    };

    pub(crate) static BYTES_MAX: Key = Key {
        name: "bytes_max",
        kind: Kind::Size(Bounds::new(1, 1_099_511_627_776)),
        default: DefaultValue::Is(|| size(HoldSettings::default().bytes_max)),
        example: r#""16m""#,
        doc: "The size of the heads of all waiting requests. Bodies are not read while requests wait.",
        when: "Lower it on hosts with little memory.",
    };
}

/// The answer while `gapless maintenance on` is in effect.
pub(crate) mod maintenance {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "MaintenanceTable",
        doc: "The answer while `gapless maintenance on` is in effect.",
        groups: &[&[&PAGE]],
    };

    pub(crate) static PAGE: Key = Key {
        name: "page",
        kind: Kind::Text,
        default: DefaultValue::Described("a short page of gapless"),
        example: r#""maintenance.html""#,
        doc: "An HTML file of at most 64 KiB, relative to the folder of this file.",
        when: "Set it to say when the application will be back.",
    };
}

//! `[strategy]` and `[judge]`: the way of requests to a new release, and the evidence against it.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration, percent};
use gapless_core::Millis;
use gapless_core::strategy::JudgeRule;

/// The choice of requests without `by`.
pub(crate) const BY_DEFAULT: &str = "random";

/// The time that a step waits for a person without `expires`.
pub(crate) const EXPIRES_DEFAULT: Millis = Millis::from_secs(24 * 3600);

pub(crate) static TABLE: Table = Table {
    schema_name: "StrategyTable",
    doc: "The way in which requests move to a new release: all at one instant, or a share of them first.",
    groups: &[&[&KIND, &BY, &HEADER, &MATCH, &STEPS, &EXPIRES]],
};

pub(crate) static KIND: Key = Key {
    name: "kind",
    kind: Kind::Choice(&[("blue-green", "All requests at one instant."), ("canary", "A share of the requests first.")]),
    default: DefaultValue::Described("`\"canary\"` if there are steps, else `\"blue-green\"`"),
    example: r#""canary""#,
    doc: "The kind of strategy.",
    when: "Set it in an environment to replace the canary of the file by `\"blue-green\"`.",
};

pub(crate) static BY: Key = Key {
    name: "by",
    kind: Kind::Choice(&[
        ("random", "Each request is drawn by itself."),
        ("sticky", "A signed cookie keeps each visitor on one release for the whole rollout."),
        ("hash", "By the value of a header."),
        ("match", "The requests that match."),
    ]),
    default: DefaultValue::Is(|| BY_DEFAULT.into()),
    example: r#""sticky""#,
    doc: "The requests that go to a canary.",
    when: "Set it to `\"sticky\"` or `\"hash\"` if a visitor must not see both releases, to `\"match\"` to try a \
     release with certain users only.",
};

pub(crate) static HEADER: Key = Key {
    name: "header",
    kind: Kind::Text,
    default: DefaultValue::Described("required with `by = \"hash\"`"),
    example: r#""x-user""#,
    doc: "With `by = \"hash\"`: the header whose values are divided, always in the same way. Requests without it go to \
     the old release.",
    when: "Set it to a header that identifies the user or tenant.",
};

pub(crate) static MATCH: Key = Key {
    name: "match",
    kind: Kind::Tables(&matcher::TABLE),
    default: DefaultValue::Described("required with `by = \"match\"`"),
    example: r#"[{ header = "x-beta", value = "1" }]"#,
    doc: "With `by = \"match\"`: requests that match any of these go to the new release, and no others.",
    when: "Use it to try a release with testers or a part of the site.",
};

pub(crate) static STEPS: Key = Key {
    name: "steps",
    kind: Kind::Tables(&step::TABLE),
    default: DefaultValue::Described("required for a canary"),
    example: r#"[{ weight = "10%", pause = "2m" }, { weight = "50%" }]"#,
    doc: "The steps of a canary, each with more of the requests than the step before; at most 100. After the last step \
     all requests go to the new release.",
    when: "Use few requests at first, so that a fault harms few users.",
};

pub(crate) static EXPIRES: Key = Key {
    name: "expires",
    kind: Kind::Duration(Bounds::new(1000, 2_592_000_000)),
    default: DefaultValue::Is(|| duration(EXPIRES_DEFAULT)),
    example: r#""2h""#,
    doc: "The time that a step without `pause` waits for `gapless promote`; if it runs out, all requests go back to \
     the old release.",
    when: "Lower it if a canary must not be forgotten over night.",
};

/// A condition on a request: a `header` and its `value`, a `cookie` and its `value`, or a `path`.
pub(crate) mod matcher {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "MatchTable",
        doc: "A condition on a request: a `header` and its `value`, a `cookie` and its `value`, or a `path`.",
        groups: &[&[&HEADER, &COOKIE, &VALUE, &PATH]],
    };

    pub(crate) static HEADER: Key = Key {
        name: "header",
        kind: Kind::Text,
        default: DefaultValue::Described("no header"),
        example: r#""x-beta""#,
        doc: "The name of a header.",
        when: "Use it for testers whose requests carry a header.",
    };

    pub(crate) static COOKIE: Key = Key {
        name: "cookie",
        kind: Kind::Text,
        default: DefaultValue::Described("no cookie"),
        example: r#""beta""#,
        doc: "The name of a cookie.",
        when: "Use it for testers with a browser.",
    };

    pub(crate) static VALUE: Key = Key {
        name: "value",
        kind: Kind::Text,
        default: DefaultValue::Described("required with `header` or `cookie`"),
        example: r#""1""#,
        doc: "The value of the header or the cookie.",
        when: "Required with `header` or `cookie`.",
    };

    pub(crate) static PATH: Key = Key {
        name: "path",
        kind: Kind::Text,
        default: DefaultValue::Described("no path"),
        example: r#""/new""#,
        doc: "A path prefix, in whole segments.",
        when: "Use it to try a release with a part of the site.",
    };
}

/// A step of a canary.
pub(crate) mod step {
    use super::*;

    pub(crate) static TABLE: Table =
        Table { schema_name: "StepTable", doc: "A step of a canary.", groups: &[&[&WEIGHT, &PAUSE]] };

    pub(crate) static WEIGHT: Key = Key {
        name: "weight",
        kind: Kind::Percent(Bounds::new(1, 99)),
        default: DefaultValue::Described("required unless `by = \"match\"`"),
        example: r#""10%""#,
        doc: "The share of the requests, in whole per cent. The last step may be followed by one with `\"100%\"`, which \
         changes nothing.",
        when: "Begin with a share that is large enough to show faults and small enough to harm few users.",
    };

    pub(crate) static PAUSE: Key = Key {
        name: "pause",
        kind: Kind::Duration(Bounds::new(1000, 2_592_000_000)),
        default: DefaultValue::Described("until `gapless promote`"),
        example: r#""2m""#,
        doc: "The duration of the step.",
        when: "Leave it out if a person must decide about the next step.",
    };
}

/// The evidence that sends requests back to the old release while a new release is watched.
pub(crate) mod judge {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "JudgeTable",
        doc: "The evidence that sends requests back to the old release while a new release is watched.",
        groups: &[&[
            &FALSE_ALARMS,
            &SLOWER_PERCENT,
            &SLOWER_BY,
            &REQUESTS_MIN,
            &ERRORS_MAX,
            &P50_MAX,
            &P95_MAX,
            &P99_MAX,
        ]],
    };

    pub(crate) static FALSE_ALARMS: Key = Key {
        name: "false_alarms",
        kind: Kind::Percent(Bounds::new(0, 50)),
        default: DefaultValue::Is(|| percent(f64::from(JudgeRule::default().false_alarms) / 100.0)),
        example: r#""0.5%""#,
        doc: "The share of rollouts in which a release that is as good as the old release may be reverted by mistake. 0 \
         compares nothing.",
        when: "Lower it to have fewer false alarms; real faults are then found a little later.",
    };

    pub(crate) static SLOWER_PERCENT: Key = Key {
        name: "slower_percent",
        kind: Kind::Number(Bounds::new(0, 10_000)),
        default: DefaultValue::Is(|| JudgeRule::default().slower_percent.into()),
        example: "20",
        doc: "The per cent by which its latencies (quantiles) may exceed those of the old release at the same time.",
        when: "Lower it if small slowdowns matter.",
    };

    pub(crate) static SLOWER_BY: Key = Key {
        name: "slower_by",
        kind: Kind::Duration(Bounds::new(0, 3_600_000)),
        default: DefaultValue::Is(|| duration(JudgeRule::default().slower_by)),
        example: r#""5ms""#,
        doc: "The least difference of latencies that counts, since a release that has just started is some milliseconds \
         slower on a busy host.",
        when: "Lower it for applications that answer within few milliseconds.",
    };

    pub(crate) static REQUESTS_MIN: Key = Key {
        name: "requests_min",
        kind: Kind::Number(Bounds::new(1, 1_000_000)),
        default: DefaultValue::Is(|| JudgeRule::default().requests_min.into()),
        example: "100",
        doc: "The number of requests that the new release must have answered before it is judged.",
        when: "Raise it if the first requests of a new release are often slow.",
    };

    pub(crate) static ERRORS_MAX: Key = Key {
        name: "errors_max",
        kind: Kind::Percent(Bounds::new(0, 100)),
        default: DefaultValue::Described("no limit"),
        example: r#""5%""#,
        doc: "The largest share of its requests that may fail: no answer, or a status from 500.",
        when: "Set it to a share that is never acceptable, whatever the old release does.",
    };

    pub(crate) static P50_MAX: Key = Key {
        name: "p50_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""50ms""#,
        doc: "The largest median latency.",
        when: "Set it to bound the usual latency.",
    };

    pub(crate) static P95_MAX: Key = Key {
        name: "p95_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""200ms""#,
        doc: "The largest latency of the fastest 95 % of requests.",
        when: "Set it to bound the latency that most users see.",
    };

    pub(crate) static P99_MAX: Key = Key {
        name: "p99_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""1s""#,
        doc: "The largest latency of the fastest 99 % of requests.",
        when: "Set it to bound the latency that nearly all users see.",
    };
}

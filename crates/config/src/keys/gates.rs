//! `[[gates]]` and `[approval]`: the tests and approvals of a release before its cutover.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration, percent};
use gapless_core::Millis;
use serde_json::Value;

/// The longest time of one attempt without `timeout`.
pub(crate) const TIMEOUT_DEFAULT: Millis = Millis::from_secs(300);

pub(crate) static TABLE: Table = Table {
    schema_name: "GateTable",
    doc: "A test of a release: a `command`, a container of an `image`, `requests` or a `load`. It reaches the release \
     by `GAPLESS_URL`, with `GAPLESS_TOKEN` in the header `x-gapless-preview`, while no user can.",
    groups: &[&[&NAME, &COMMAND, &USER, &IMAGE, &REQUESTS, &LOAD, &TIMEOUT, &RETRIES, &PARALLEL]],
};

pub(crate) static NAME: Key = Key {
    name: "name",
    kind: Kind::Name,
    default: DefaultValue::Required,
    example: r#""smoke""#,
    doc: "The name of the gate: 1 to 63 lower-case letters, digits and hyphens.",
    when: "Required: progress and errors refer to the gate by its name.",
};

pub(crate) static COMMAND: Key = Key {
    name: "command",
    kind: Kind::Texts,
    default: DefaultValue::Described("the command of the `image`"),
    example: r#"["./smoke-test", "--fast"]"#,
    doc: "The program and its arguments, run on the host of the server; with an `image`, in place of the command of \
     the image.",
    when: "Use it for tests that are a program on the host.",
};

pub(crate) static USER: Key = Key {
    name: "user",
    kind: Kind::Text,
    default: DefaultValue::Described("`nobody` if the server is root, else the user of the server"),
    example: r#""tester""#,
    doc: "The user that the program runs as.",
    when: "Set it when the tests need files or rights of a certain user.",
};

pub(crate) static IMAGE: Key = Key {
    name: "image",
    kind: Kind::Text,
    default: DefaultValue::Described("no container"),
    example: r#""shop-tests:latest""#,
    doc: "The image of a container that runs to its end.",
    when: "Use it for tests that bring their own environment.",
};

pub(crate) static REQUESTS: Key = Key {
    name: "requests",
    kind: Kind::Tables(&request::TABLE),
    default: DefaultValue::Described("no requests"),
    example: "",
    doc: "Requests with expected answers.",
    when: "Use it for simple checks that need no program.",
};

pub(crate) static LOAD: Key = Key {
    name: "load",
    kind: Kind::Table(&load::TABLE),
    default: DefaultValue::Described("no stress test"),
    example: "",
    doc: "A stress test.",
    when: "Use it to test that a release is fast enough before users reach it.",
};

pub(crate) static TIMEOUT: Key = Key {
    name: "timeout",
    kind: Kind::Duration(Bounds::new(1000, 86_400_000)),
    default: DefaultValue::Is(|| duration(TIMEOUT_DEFAULT)),
    example: r#""10m""#,
    doc: "The longest time of one attempt.",
    when: "Raise it for tests that take longer, lower it to fail sooner.",
};

pub(crate) static RETRIES: Key = Key {
    name: "retries",
    kind: Kind::Number(Bounds::new(0, 10)),
    default: DefaultValue::Is(|| 0.into()),
    example: "2",
    doc: "The number of further attempts after the first one has failed.",
    when: "Raise it for tests that sometimes fail without a fault of the release.",
};

pub(crate) static PARALLEL: Key = Key {
    name: "parallel",
    kind: Kind::Boolean,
    default: DefaultValue::Is(|| false.into()),
    example: "true",
    doc: "Runs beside the gate before it, and not after it.",
    when: "Set it to shorten deployments, if the tests do not disturb each other.",
};

/// A request, and the expected answer.
pub(crate) mod request {
    use super::*;

    /// The method without `method`.
    pub(crate) const METHOD_DEFAULT: &str = "GET";

    /// The path without `path`.
    pub(crate) const PATH_DEFAULT: &str = "/";

    /// The expected status without `status`.
    pub(crate) const STATUS_DEFAULT: u16 = 200;

    pub(crate) static TABLE: Table = Table {
        schema_name: "GateRequestTable",
        doc: "A request, and the expected answer.",
        groups: &[&[&METHOD, &PATH, &HEADERS, &BODY, &STATUS, &EXPECT_HEADERS, &CONTAINS, &JSON, &WITHIN]],
    };

    pub(crate) static METHOD: Key = Key {
        name: "method",
        kind: Kind::Text,
        default: DefaultValue::Is(|| METHOD_DEFAULT.into()),
        example: r#""POST""#,
        doc: "The method, in capital letters.",
        when: "Set it to test more than reading.",
    };

    pub(crate) static PATH: Key = Key {
        name: "path",
        kind: Kind::Path,
        default: DefaultValue::Is(|| PATH_DEFAULT.into()),
        example: r#""/orders?page=1""#,
        doc: "The path, with its query.",
        when: "Set it to the page or endpoint that is tested.",
    };

    pub(crate) static HEADERS: Key = Key {
        name: "headers",
        kind: Kind::TextByName,
        default: DefaultValue::Described("no headers"),
        example: r#"{ accept = "application/json" }"#,
        doc: "Headers of the request.",
        when: "Use it for content types and authentication.",
    };

    pub(crate) static BODY: Key = Key {
        name: "body",
        kind: Kind::Text,
        default: DefaultValue::Described("no body"),
        example: r#""{}""#,
        doc: "The body of the request.",
        when: "Use it with methods such as POST.",
    };

    pub(crate) static STATUS: Key = Key {
        name: "status",
        kind: Kind::Number(Bounds::new(200, 599)),
        default: DefaultValue::Is(|| STATUS_DEFAULT.into()),
        example: "201",
        doc: "The expected status.",
        when: "Set it when another status than 200 is the right one.",
    };

    pub(crate) static EXPECT_HEADERS: Key = Key {
        name: "expect_headers",
        kind: Kind::TextByName,
        default: DefaultValue::Described("any headers"),
        example: r#"{ location = "/orders/1" }"#,
        doc: "Expected headers, with their values.",
        when: "Use it to test redirects and caching.",
    };

    pub(crate) static CONTAINS: Key = Key {
        name: "contains",
        kind: Kind::Texts,
        default: DefaultValue::Described("any body"),
        example: r#"["order"]"#,
        doc: "Texts that the body must contain.",
        when: "Use it to distinguish the right page from an error page with status 200.",
    };

    pub(crate) static JSON: Key = Key {
        name: "json",
        kind: Kind::JsonByPointer,
        default: DefaultValue::Described("any body"),
        example: r#"{ "/status" = "ok" }"#,
        doc: "Expected values of a JSON body, by JSON Pointer.",
        when: "Use it to test the answers of an API.",
    };

    pub(crate) static WITHIN: Key = Key {
        name: "within",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""200ms""#,
        doc: "The longest time that the answer may take.",
        when: "Set it when a slow answer is a fault.",
    };
}

/// A stress test.
pub(crate) mod load {
    use super::*;

    /// The number of connections without `connections`.
    pub(crate) const CONNECTIONS_DEFAULT: u16 = 16;

    /// The duration without `duration`.
    pub(crate) const DURATION_DEFAULT: Millis = Millis::from_secs(10);

    /// The path that is requested without `requests`.
    pub(crate) const PATH_DEFAULT: &str = "/";

    /// The share of failed requests, in per cent, without `errors_max`.
    pub(crate) const ERRORS_MAX_DEFAULT: f64 = 1.0;

    pub(crate) static TABLE: Table = Table {
        schema_name: "GateLoadTable",
        doc: "A stress test.",
        groups: &[&[
            &RATE,
            &CONNECTIONS,
            &DURATION,
            &REQUESTS,
            &ERRORS_MAX,
            &P50_MAX,
            &P95_MAX,
            &P99_MAX,
            &THROUGHPUT_MIN,
        ]],
    };

    pub(crate) static RATE: Key = Key {
        name: "rate",
        kind: Kind::Number(Bounds::new(0, 100_000)),
        default: DefaultValue::Described("as many as the connections can"),
        example: "500",
        doc: "The number of requests a second, sent without waiting for earlier answers.",
        when: "Set it to test with the load that the application has in production.",
    };

    pub(crate) static CONNECTIONS: Key = Key {
        name: "connections",
        kind: Kind::Number(Bounds::new(1, 1000)),
        default: DefaultValue::Is(|| CONNECTIONS_DEFAULT.into()),
        example: "64",
        doc: "The number of connections.",
        when: "Raise it to test with more clients at the same time.",
    };

    pub(crate) static DURATION: Key = Key {
        name: "duration",
        kind: Kind::Duration(Bounds::new(1000, 3_600_000)),
        default: DefaultValue::Is(|| duration(DURATION_DEFAULT)),
        example: r#""30s""#,
        doc: "The duration of the test; it must be shorter than the `timeout` of the gate.",
        when: "Raise it if faults show only after some time under load.",
    };

    pub(crate) static REQUESTS: Key = Key {
        name: "requests",
        kind: Kind::Texts,
        default: DefaultValue::Is(|| Value::from([PATH_DEFAULT])),
        example: r#"["/", "GET /orders"]"#,
        doc: "The requests that are sent in turn: paths, or methods and paths such as `HEAD /`.",
        when: "Set it to the requests that users send most.",
    };

    pub(crate) static ERRORS_MAX: Key = Key {
        name: "errors_max",
        kind: Kind::Percent(Bounds::new(0, 100)),
        default: DefaultValue::Is(|| percent(ERRORS_MAX_DEFAULT)),
        example: r#""0.1%""#,
        doc: "The largest share of requests that may fail: no answer, or a status from 500.",
        when: "Lower it if no request may fail.",
    };

    pub(crate) static P50_MAX: Key = Key {
        name: "p50_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""20ms""#,
        doc: "The largest median latency.",
        when: "Set it to bound the usual latency.",
    };

    pub(crate) static P95_MAX: Key = Key {
        name: "p95_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""100ms""#,
        doc: "The largest latency of the fastest 95 % of requests.",
        when: "Set it to bound the latency that most users see.",
    };

    pub(crate) static P99_MAX: Key = Key {
        name: "p99_max",
        kind: Kind::Duration(Bounds::from(0)),
        default: DefaultValue::Described("no limit"),
        example: r#""250ms""#,
        doc: "The largest latency of the fastest 99 % of requests.",
        when: "Set it to bound the latency that nearly all users see.",
    };

    pub(crate) static THROUGHPUT_MIN: Key = Key {
        name: "throughput_min",
        kind: Kind::Number(Bounds::new(0, 4_294_967_295)),
        default: DefaultValue::Is(|| 0.into()),
        example: "450",
        doc: "The least number of answered requests a second.",
        when: "Set it to find releases that cannot carry the usual load.",
    };
}

/// The approvals by people that a release needs before its cutover.
pub(crate) mod approval {
    use super::*;

    /// The number of people without `people`.
    pub(crate) const PEOPLE_DEFAULT: u16 = 1;

    /// The time to approve without `expires`.
    pub(crate) const EXPIRES_DEFAULT: Millis = Millis::from_secs(24 * 3600);

    pub(crate) static TABLE: Table = Table {
        schema_name: "ApprovalTable",
        doc: "The approvals by people that a release needs before its cutover.",
        groups: &[&[&PEOPLE, &BY_OTHERS, &EXPIRES]],
    };

    pub(crate) static PEOPLE: Key = Key {
        name: "people",
        kind: Kind::Number(Bounds::new(1, 100)),
        default: DefaultValue::Is(|| PEOPLE_DEFAULT.into()),
        example: "2",
        doc: "The number of people who must approve.",
        when: "Raise it if one person must not decide alone.",
    };

    pub(crate) static BY_OTHERS: Key = Key {
        name: "by_others",
        kind: Kind::Boolean,
        default: DefaultValue::Is(|| false.into()),
        example: "true",
        doc: "Excludes the approval of the person who asked for the deployment.",
        when: "Set it if nobody may approve their own release.",
    };

    pub(crate) static EXPIRES: Key = Key {
        name: "expires",
        kind: Kind::Duration(Bounds::new(1000, 2_592_000_000)),
        default: DefaultValue::Is(|| duration(EXPIRES_DEFAULT)),
        example: r#""8h""#,
        doc: "The time to approve; if it runs out, the deployment fails.",
        when: "Raise it if approvals may have to wait for a weekend to pass.",
    };
}

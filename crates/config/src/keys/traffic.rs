//! `[proxy]` and `[deploy]`: forwarding, and the deadlines of a deployment.

use super::{Bounds, DefaultValue, Key, Kind, Table, duration};
use gapless_core::Millis;
use gapless_core::spec::{ForwardSettings, Timing};

/// Forwarding of requests, and the answers when forwarding fails.
pub(crate) mod proxy {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "ProxyTable",
        doc: "Forwarding of requests, and the answers when forwarding fails.",
        groups: &[&[&CONNECT_TIMEOUT, &RESPONSE_TIMEOUT, &IDLE_TIMEOUT, &TRUST_FORWARDED, &RETRY_AFTER, &ERROR_PAGE]],
    };

    pub(crate) static CONNECT_TIMEOUT: Key = Key {
        name: "connect_timeout",
        kind: Kind::Duration(Bounds::new(1, 60_000)),
        default: DefaultValue::Is(|| duration(ForwardSettings::default().connect_timeout)),
        example: r#""500ms""#,
        doc: "The longest time that connecting to an instance may take.",
        when: "Lower it so that a request tries another instance sooner.",
    };

    pub(crate) static RESPONSE_TIMEOUT: Key = Key {
        name: "response_timeout",
        kind: Kind::Duration(Bounds::new(1, 86_400_000)),
        default: DefaultValue::Is(|| duration(ForwardSettings::default().first_byte_timeout)),
        example: r#""5m""#,
        doc: "The longest time from the end of the request to the head of the answer.",
        when: "Raise it if the application has requests that take longer.",
    };

    pub(crate) static IDLE_TIMEOUT: Key = Key {
        name: "idle_timeout",
        kind: Kind::Duration(Bounds::new(1, 86_400_000)),
        default: DefaultValue::Is(|| duration(ForwardSettings::default().idle_body_timeout)),
        example: r#""10m""#,
        doc: "The longest time without a byte of a body, in either direction.",
        when: "Raise it for event streams that are silent for longer.",
    };

    pub(crate) static TRUST_FORWARDED: Key = Key {
        name: "trust_forwarded",
        kind: Kind::Boolean,
        default: DefaultValue::Is(|| ForwardSettings::default().trust_forwarded.into()),
        example: "true",
        doc: "Trusts and extends `X-Forwarded-*`, `Forwarded` and `X-Request-Id` of the client. By default gapless \
         replaces them.",
        when: "Set it only if another proxy of yours stands in front; otherwise clients can forge their address.",
    };

    pub(crate) static RETRY_AFTER: Key = Key {
        name: "retry_after",
        kind: Kind::WholeSeconds(Bounds::new(0, 86_400_000)),
        default: DefaultValue::Is(|| duration(Millis::from_secs(ForwardSettings::default().retry_after_s.into()))),
        example: r#""5s""#,
        doc: "The value of `Retry-After` in an answer 503, in whole seconds.",
        when: "Raise it to slow down clients that retry during an outage.",
    };

    pub(crate) static ERROR_PAGE: Key = Key {
        name: "error_page",
        kind: Kind::Text,
        default: DefaultValue::Described("a short page of gapless"),
        example: r#""error.html""#,
        doc: "An HTML file of at most 64 KiB for the answers 502, 503 and 504, relative to the folder of this file.",
        when: "Set it to show users a page in the application's own style.",
    };
}

/// The deadlines of a deployment.
pub(crate) mod deploy {
    use super::*;

    pub(crate) static TABLE: Table = Table {
        schema_name: "DeployTable",
        doc: "The deadlines of a deployment.",
        groups: &[&[
            &PREPARE_TIMEOUT,
            &START_TIMEOUT,
            &SHIFT_TIMEOUT,
            &OBSERVE,
            &DRAIN_TIMEOUT,
            &STOP_TIMEOUT,
            &KEEP_WARM,
            &PARK,
            &KEEP,
        ]],
    };

    pub(crate) static PREPARE_TIMEOUT: Key = Key {
        name: "prepare_timeout",
        kind: Kind::Duration(Bounds::new(1000, 86_400_000)),
        default: DefaultValue::Is(|| duration(Timing::default().prepare_timeout)),
        example: r#""20m""#,
        doc: "The longest time for resolving and pulling the image.",
        when: "Raise it for large images or a slow registry.",
    };

    pub(crate) static START_TIMEOUT: Key = Key {
        name: "start_timeout",
        kind: Kind::Duration(Bounds::new(1000, 3_600_000)),
        default: DefaultValue::Is(|| duration(Timing::default().start_timeout)),
        example: r#""2m""#,
        doc: "The longest time for creating and starting the instances.",
        when: "Raise it on hosts that start many instances slowly.",
    };

    pub(crate) static SHIFT_TIMEOUT: Key = Key {
        name: "shift_timeout",
        kind: Kind::Duration(Bounds::new(1000, 3_600_000)),
        default: DefaultValue::Is(|| duration(Timing::default().shift_timeout)),
        example: r#""30s""#,
        doc: "The longest time until every proxy has applied the cutover; if it runs out, the cutover is reverted.",
        when: "Raise it if reloads of nginx take long.",
    };

    pub(crate) static OBSERVE: Key = Key {
        name: "observe",
        kind: Kind::Duration(Bounds::new(0, 86_400_000)),
        default: DefaultValue::Is(|| duration(Timing::default().observe)),
        example: r#""1m""#,
        doc: "The time that the new slot is watched after the cutover, while the old slot is ready to take over again.",
        when: "Raise it if faults of a release show only after some minutes of traffic.",
    };

    pub(crate) static DRAIN_TIMEOUT: Key = Key {
        name: "drain_timeout",
        kind: Kind::Duration(Bounds::new(0, 86_400_000)),
        default: DefaultValue::Is(|| duration(Timing::default().drain_timeout)),
        example: r#""5m""#,
        doc: "The longest time for the old slot to finish its requests.",
        when: "Raise it for downloads, uploads and other long requests.",
    };

    pub(crate) static STOP_TIMEOUT: Key = Key {
        name: "stop_timeout",
        kind: Kind::Duration(Bounds::new(0, 3_600_000)),
        default: DefaultValue::Is(|| duration(Timing::default().stop_timeout)),
        example: r#""30s""#,
        doc: "The time of an instance from SIGTERM to SIGKILL.",
        when: "Raise it if the application needs longer to shut down.",
    };

    pub(crate) static KEEP_WARM: Key = Key {
        name: "keep_warm",
        kind: Kind::Duration(Bounds::new(0, 2_592_000_000)),
        default: DefaultValue::Is(|| duration(Timing::default().keep_warm)),
        example: r#""1h""#,
        doc: "The time that the old slot stays ready after the observation, so that a rollback takes milliseconds.",
        when: "Raise it if faults are usually found later; lower it if both slots together need too much memory.",
    };

    pub(crate) static PARK: Key = Key {
        name: "park",
        kind: Kind::Boolean,
        default: DefaultValue::Is(|| Timing::default().park.into()),
        example: "false",
        doc: "Freezes the old slot while it is kept warm, so that it takes no processor time.",
        when: "Set it to `false` if the application cannot bear being frozen, for example because of its connections to \
         others.",
    };

    pub(crate) static KEEP: Key = Key {
        name: "keep",
        kind: Kind::Number(Bounds::new(1, 100)),
        default: DefaultValue::Is(|| Timing::default().keep.into()),
        example: "10",
        doc: "The number of releases that stay on the host for a rollback without a registry.",
        when: "Raise it to be able to go back further; lower it to save disk space.",
    };
}

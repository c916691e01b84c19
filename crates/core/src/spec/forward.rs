//! The settings for forwarding requests, and for holding them during a migration.

use crate::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The bounds of a hold on requests during a migration: new requests wait in the data planes, which read nothing of
/// their bodies meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSettings {
    /// The longest wait of a request; then it is answered 503. The migration must be done by then.
    pub timeout: Millis,
    /// The time that earlier requests have to finish; then the migration starts without waiting for them.
    pub drain: Millis,
    /// The number of requests that a data plane holds; it answers further ones 503.
    pub requests_max: u32,
    /// The total size of the held requests' heads in a data plane, in bytes.
    pub bytes_max: u64,
}

impl Default for HoldSettings {
    fn default() -> Self {
        HoldSettings {
            timeout: Millis::from_secs(30),
            drain: Millis::from_secs(5),
            requests_max: 10_000,
            bytes_max: 64 << 20,
        }
    }
}

/// The settings for forwarding requests, and the answers to requests that cannot be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardSettings {
    /// The time limit for connecting to an instance.
    pub connect_timeout: Millis,
    /// The time limit from the end of a request to the head of its answer.
    pub first_byte_timeout: Millis,
    /// The longest time without progress of a body, in either direction.
    pub idle_body_timeout: Millis,
    /// The client's `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are trusted and extended, because another trusted
    /// proxy stands in front. Otherwise they are replaced.
    pub trust_forwarded: bool,
    /// The seconds in `Retry-After` of an answer 503.
    pub retry_after_s: u32,
    /// The HTML of the answers in maintenance mode; `None` uses gapless's own short page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_page: Option<String>,
    /// The HTML of the answers 502, 503 and 504; `None` uses gapless's own short page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_page: Option<String>,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        ForwardSettings {
            connect_timeout: Millis::from_secs(2),
            first_byte_timeout: Millis::from_secs(60),
            idle_body_timeout: Millis::from_secs(60),
            trust_forwarded: false,
            retry_after_s: 2,
            maintenance_page: None,
            error_page: None,
        }
    }
}

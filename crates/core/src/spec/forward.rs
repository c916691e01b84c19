//! The settings for forwarding requests, and for holding them during a migration.

use crate::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How requests are held while a migration wants that: new ones wait in the data planes, and nothing of their bodies is
/// read meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSettings {
    /// How long a request waits at most; then it is answered 503. The migration has to be done by then.
    pub timeout: Millis,
    /// How long those that came before have to be finished, before the migration begins without that.
    pub drain: Millis,
    /// How many requests a data plane holds; further ones are answered 503.
    pub requests_max: u32,
    /// How many bytes their heads may have together in a data plane.
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

/// How requests are forwarded, and what is answered when they cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardSettings {
    /// How long connecting to an instance may take.
    pub connect_timeout: Millis,
    /// How long an instance may take from the end of the request to the head of its answer.
    pub first_byte_timeout: Millis,
    /// How long a body may rest, in either direction, without a byte moving.
    pub idle_body_timeout: Millis,
    /// Whether `X-Forwarded-*`, `Forwarded` and `X-Request-Id` of the client are believed and extended, because
    /// another proxy of ours stands in front. Otherwise they are replaced.
    pub trust_forwarded: bool,
    /// The seconds in `Retry-After` of an answer 503.
    pub retry_after_s: u32,
    /// The HTML of the answers while the application is under maintenance; a short page of gapless's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_page: Option<String>,
    /// The HTML of the answers 502, 503 and 504; a short page of gapless's own without it.
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

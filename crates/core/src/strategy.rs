//! Strategies: the move of requests to a new release, immediately or in steps, and its limits meanwhile.

use crate::Millis;
use crate::gate::LatencyBounds;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The way in which requests move to a new release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strategy {
    /// All requests in one instant.
    #[default]
    BlueGreen,
    /// A share of the requests first.
    Canary(Canary),
}

impl Strategy {
    /// The canary of the strategy, if it has one.
    #[must_use]
    pub const fn canary(&self) -> Option<&Canary> {
        match self {
            Strategy::Canary(canary) => Some(canary),
            Strategy::BlueGreen => None,
        }
    }
}

/// A cutover in steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The steps, at least one. After the last one all requests go to the new release.
    pub steps: Vec<CanaryStep>,
    /// The choice of the requests that go to the new release.
    pub choose: Choose,
    /// The longest wait of a step for a person.
    pub expires: Millis,
}

/// A step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// The share of requests that go to the new release, in percent, from 1 to 99.
    pub weight: u8,
    /// The duration of the step; without it the step lasts until `gapless promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Millis>,
}

/// The choice of the requests that go to the new release in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Choose {
    /// A share of the requests, each drawn independently.
    Random,
    /// A share of the visitors: a signed cookie keeps each on one release for the whole rollout.
    Sticky,
    /// A share of the values of a header, always the same ones. Requests without the header go to the old release.
    Hash {
        /// The header's name.
        header: String,
    },
    /// The requests that match any of these, and no others.
    Match(Vec<Matcher>),
}

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Matcher {
    /// A header with this value.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A cookie with this value.
    Cookie {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A path below this prefix, in whole segments.
    Path(crate::PathPrefix),
}

/// The limits of a new release in its canary and under observation: relative to the old one, and absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeRule {
    /// The bound on false alarms, in ten-thousandths of the rollouts: reverts of a release that is as good as the old
    /// one. 0 disables the comparison.
    pub false_alarms: u16,
    /// The tolerated slowdown of the new release's latency quantiles against the old one's, in percent.
    pub slower_percent: u16,
    /// The least slowdown that counts: on a busy host a release that has just started is some milliseconds slower.
    #[serde(default = "slower_by")]
    pub slower_by: Millis,
    /// The number of answers of the new release before any limit applies.
    pub requests_min: u32,
    /// The largest share of failed requests (no answer, or a status of 500 or more), in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max_permille: Option<u16>,
    /// Upper bounds of the latencies.
    #[serde(default)]
    pub latency_max: LatencyBounds,
}

const fn slower_by() -> Millis {
    Millis(10)
}

impl Default for JudgeRule {
    fn default() -> Self {
        JudgeRule {
            false_alarms: 100,
            slower_percent: 50,
            slower_by: slower_by(),
            requests_min: 20,
            errors_max_permille: None,
            latency_max: LatencyBounds::default(),
        }
    }
}

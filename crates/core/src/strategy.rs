//! Strategies: how requests come to a new release, at once or in steps, and what is held against it meanwhile.

use crate::Millis;
use crate::gate::LatencyBounds;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How requests come to a new release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strategy {
    /// All of them at one instant.
    #[default]
    BlueGreen,
    /// A share of them first.
    Canary(Canary),
}

impl Strategy {
    /// The canary, if it is one.
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
    /// Which requests are chosen.
    pub choose: Choose,
    /// How long a step waits for a person.
    pub expires: Millis,
}

/// A step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// The share of requests that go to the new release, in percent, from 1 to 99.
    pub weight: u8,
    /// How long the step lasts; without it until a person says `gapless promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Millis>,
}

/// Which requests go to the new release in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Choose {
    /// A share of them, each drawn for itself.
    Random,
    /// A share of the visitors: a signed cookie keeps each on one release for the whole rollout.
    Sticky,
    /// A share of the values of that header, always the same ones. Requests without it go to the old release.
    Hash {
        /// The header's name.
        header: String,
    },
    /// Those that match any of these, and no others.
    Match(Vec<Matcher>),
}

/// What a request has to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Matcher {
    /// A header of that value.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A cookie of that value.
    Cookie {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A path below that prefix, in whole segments.
    Path(crate::PathPrefix),
}

/// What speaks against a new release while it is watched: by comparison with the old one, and absolutely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeRule {
    /// How often a release that is as good as the old one may be taken back by mistake, in ten-thousandths of the
    /// rollouts. 0 compares nothing.
    pub false_alarms: u16,
    /// How much slower, in percent, the new release's quantiles of latency may be than the old one's.
    pub slower_percent: u16,
    /// And by how much at least: on a busy host a release that has just started is some milliseconds slower.
    #[serde(default = "slower_by")]
    pub slower_by: Millis,
    /// Requests that the new release must have answered before anything is held against it.
    pub requests_min: u32,
    /// The most of its requests that may fail (no answer, or a status from 500), in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max_permille: Option<u16>,
    /// Bounds of its latencies.
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

//! A release: an immutable thing to run.

use crate::{EnvName, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// An immutable thing to run, numbered per application: a configuration, and what it resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its number, from 1.
    pub number: u64,
    /// Its configuration.
    pub spec: Arc<Spec>,
    /// What exactly runs: the id of an image, the checksum of a program. Resolved once, by the first deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Where it was proven, if it was promoted from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<Origin>,
    /// The configurations of the environments that it goes on to by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Arc<Spec>>,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// Who handed it in.
    pub created_by: String,
}

/// A release of the same application in another environment, of which another one is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The environment.
    pub env: EnvName,
    /// The number of the release there.
    pub release: u64,
}

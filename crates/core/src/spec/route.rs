//! A route: which requests belong to a service.

use crate::{HostPattern, PathPrefix, ServiceName};
use serde::{Deserialize, Serialize};

/// Requests for one host, under one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The host or hosts. An exact one goes before a wildcard, a longer wildcard before a shorter, `*` comes last.
    pub host: HostPattern,
    /// The path prefix; of the routes of a host the longest that matches is taken.
    #[serde(default)]
    pub path: PathPrefix,
    /// Whether the prefix is cut off the path before the request is forwarded.
    #[serde(default)]
    pub strip: bool,
    /// The service whose instances answer.
    #[serde(default, skip_serializing_if = "ServiceName::is_default")]
    pub service: ServiceName,
}

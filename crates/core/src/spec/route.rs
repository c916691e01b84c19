//! A route: the host and path of the requests that belong to a service.

use crate::{HostPattern, PathPrefix, ServiceName};
use serde::{Deserialize, Serialize};

/// A route of requests by host and path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The host or hosts. An exact host precedes a wildcard, a longer wildcard a shorter one, and `*` comes last.
    pub host: HostPattern,
    /// The path prefix; of the routes of a host the longest matching one applies.
    #[serde(default)]
    pub path: PathPrefix,
    /// The prefix is removed from the path before the request is forwarded.
    #[serde(default)]
    pub strip: bool,
    /// The service whose instances answer.
    #[serde(default, skip_serializing_if = "ServiceName::is_default")]
    pub service: ServiceName,
}

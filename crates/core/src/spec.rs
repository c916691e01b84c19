//! The configuration of a release: the typed form of `gapless.toml`, with every default filled in. It is recorded with
//! the release and never changes afterwards.

mod forward;
mod route;
mod workload;

pub use forward::{ForwardSettings, HoldSettings};
pub use route::Route;
pub use workload::{Container, HostPorts, LogRotation, Process, Resources, Volume, Workload};

use crate::gate::Gate;
use crate::hook::Hook;
use crate::strategy::{JudgeRule, Strategy};
use crate::{AppKey, AppName, EnvName, HostPattern, Millis, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// The configuration of a release: its services, their health checks, its routes and the rules of its deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The name of the application.
    pub app: AppName,
    /// The environment that it is deployed into.
    #[serde(default)]
    pub env: EnvName,
    /// The environments in which a release must have succeeded before. With any of them this environment accepts only
    /// promotions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<EnvName>,
    /// A release that has succeeded in all required environments is promoted to this one automatically.
    #[serde(default)]
    pub promote_auto: bool,
    /// The services by name: a single one called `web` where the configuration names none. All of them start, pass
    /// their checks and change over together.
    pub services: BTreeMap<ServiceName, Service>,
    /// The requests that belong to this application.
    pub routes: Vec<Route>,
    /// The settings for forwarding requests.
    #[serde(default)]
    pub forward: ForwardSettings,
    /// The tests that a release must pass before its cutover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// The rule of the approval by people that a release needs before its cutover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// The programs that run once in each deployment, at their points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The bounds of a hold on requests during a migration.
    #[serde(default)]
    pub hold: HoldSettings,
    /// The way in which requests move to a new release.
    #[serde(default)]
    pub strategy: Strategy,
    /// The limits of a new release in its canary and under observation.
    #[serde(default)]
    pub judge: JudgeRule,
    /// The deadlines of a deployment.
    #[serde(default)]
    pub timing: Timing,
}

impl Spec {
    /// A spec of a single service with this workload, the defaults of everything else, and no routes.
    #[must_use]
    pub fn new(key: AppKey, workload: Workload, port: u16) -> Self {
        Spec {
            app: key.app,
            env: key.env,
            requires: Vec::new(),
            promote_auto: false,
            services: BTreeMap::from([(ServiceName::default(), Service::new(workload, port))]),
            routes: Vec::new(),
            forward: ForwardSettings::default(),
            gates: Vec::new(),
            approval: None,
            hooks: Vec::new(),
            hold: HoldSettings::default(),
            strategy: Strategy::default(),
            judge: JudgeRule::default(),
            timing: Timing::default(),
        }
    }
}

/// A program of a release; all of its instances are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The program.
    pub workload: Workload,
    /// The port that it listens on in its container; 0 if it listens nowhere. A process receives its port in the
    /// variable `PORT` instead.
    pub port: u16,
    /// The number of instances in a slot, from 1.
    pub replicas: u16,
    /// Environment variables of the instances.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The names of the variables that are secrets: their values are never shown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<String>,
    /// Limits on each instance.
    #[serde(default)]
    pub resources: Resources,
    /// The limits of each instance's log on disk.
    #[serde(default)]
    pub log: LogRotation,
    /// Fixed ports on the host, one for each slot, for clients that bypass gapless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ports: Option<HostPorts>,
    /// The health check of each instance.
    #[serde(default)]
    pub health: HealthCheck,
}

impl Service {
    /// A service with this workload and the defaults of everything else.
    #[must_use]
    pub fn new(workload: Workload, port: u16) -> Self {
        Service {
            workload,
            port,
            replicas: 1,
            variables: BTreeMap::new(),
            secrets: BTreeSet::new(),
            resources: Resources::default(),
            log: LogRotation::default(),
            host_ports: None,
            health: HealthCheck::default(),
        }
    }
}

impl Spec {
    /// The hosts of its routes.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        self.routes.iter().map(|route| route.host.clone()).collect()
    }

    /// The main service: the one with the shortest routed path, or without routes the first one.
    #[must_use]
    pub fn main_service(&self) -> Option<(&ServiceName, &Service)> {
        let shortest = self.routes.iter().min_by_key(|route| route.path.as_str().len());
        let routed = shortest.and_then(|route| self.services.get_key_value(&route.service));
        routed.or_else(|| self.services.first_key_value())
    }

    /// The name of the runtime of all services, as written in `gapless.toml`.
    #[must_use]
    pub fn runtime(&self) -> &'static str {
        // A spec without services is rejected before it is recorded.
        self.main_service().map_or("docker", |(_, service)| service.workload.runtime())
    }

    /// The release has several services, which reach each other by name.
    #[must_use]
    pub fn has_several_services(&self) -> bool {
        self.services.len() > 1
    }

    /// The spec for display: the values of secrets are replaced by `…`.
    #[must_use]
    pub fn without_secrets(&self) -> Spec {
        let mut shown = self.clone();
        for service in shown.services.values_mut() {
            let secret = service.variables.iter_mut().filter(|(name, _)| service.secrets.contains(*name));
            secret.for_each(|(_, value)| "…".clone_into(value));
        }
        shown
    }

    /// The longest deadline for passing the health checks, of all services.
    #[must_use]
    pub fn health_deadline(&self) -> Millis {
        self.services.values().map(|service| service.health.deadline).max().unwrap_or_default()
    }
}

/// The rule of an approval by people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// The number of approvals.
    pub people: u16,
    /// The requester's own approval is excluded.
    #[serde(default)]
    pub by_others: bool,
    /// The time limit of the approvals.
    pub expires: Millis,
}

/// The health check of an instance: a GET request directly to it, or that it runs if it answers no requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path to request; without one no request is made, and an instance is healthy once it has run for `settle`.
    pub path: Option<String>,
    /// The time that an instance without a path must have run.
    #[serde(default = "settle")]
    pub settle: Millis,
    /// The port to request, if it is not the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The statuses that mean healthy.
    pub statuses: Vec<u16>,
    /// The `Host` header; by default the instance's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The longest wait between two checks. During the start the wait grows from 2 ms to this one.
    pub interval: Millis,
    /// The time limit of a check.
    pub timeout: Millis,
    /// The number of passes in a row before the instance takes requests.
    pub passes: u16,
    /// The number of failures in a row before a live instance leaves the rotation.
    pub failures: u16,
    /// The time in which a starting instance must have passed.
    pub deadline: Millis,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            path: Some("/up".to_owned()),
            settle: settle(),
            port: None,
            statuses: (200..=299).collect(),
            host: None,
            interval: Millis::from_secs(1),
            timeout: Millis::from_secs(5),
            passes: 1,
            failures: 3,
            deadline: Millis::from_secs(30),
        }
    }
}

/// The deadlines of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The time limit for resolving and fetching the release.
    pub prepare_timeout: Millis,
    /// The time limit for creating and starting the instances.
    pub start_timeout: Millis,
    /// The time limit for the data planes to apply the cutover; then it is reverted.
    pub shift_timeout: Millis,
    /// The duration of the observation after the cutover, with the old slot ready to take over again.
    pub observe: Millis,
    /// The time that the old slot has to finish its requests.
    pub drain_timeout: Millis,
    /// The time from SIGTERM to SIGKILL.
    pub stop_timeout: Millis,
    /// The time for which the old slot stays ready for a rollback after the observation.
    pub keep_warm: Millis,
    /// The old slot is frozen while it stays ready, so that it gets no processor time.
    #[serde(default = "yes")]
    pub park: bool,
    /// The number of releases that stay on the host for a rollback without a registry.
    #[serde(default = "keep")]
    pub keep: u16,
}

const fn settle() -> Millis {
    Millis::from_secs(1)
}

const fn yes() -> bool {
    true
}

const fn keep() -> u16 {
    5
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            prepare_timeout: Millis::from_secs(600),
            start_timeout: Millis::from_secs(60),
            shift_timeout: Millis::from_secs(10),
            observe: Millis::from_secs(10),
            drain_timeout: Millis::from_secs(30),
            stop_timeout: Millis::from_secs(10),
            keep_warm: Millis::from_secs(600),
            park: yes(),
            keep: keep(),
        }
    }
}

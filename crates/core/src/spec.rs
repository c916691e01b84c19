//! What a release is made of: the typed form of `gapless.toml`, complete, with every default filled in. It is recorded
//! with the release and never changes afterwards.

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

/// A release's configuration: what to run, how to know that it is well, and which requests are its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The application that it is a release of.
    pub app: AppName,
    /// The environment that it is deployed into.
    #[serde(default)]
    pub env: EnvName,
    /// The environments in which a release must have succeeded before this one takes it. With any of them a release
    /// comes by promotion alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<EnvName>,
    /// Whether what succeeds in all environments that it requires comes into this one by itself.
    #[serde(default)]
    pub promote_auto: bool,
    /// What runs, by name: one service called `web` where the configuration names none. All of them start, pass their
    /// checks and change over together.
    pub services: BTreeMap<ServiceName, Service>,
    /// Which requests are this application's.
    pub routes: Vec<Route>,
    /// How they are forwarded.
    #[serde(default)]
    pub forward: ForwardSettings,
    /// What a release must pass before its cutover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// Whether people must approve it before its cutover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// What is done once in each deployment, at its points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// How requests are held while a migration wants that.
    #[serde(default)]
    pub hold: HoldSettings,
    /// How requests come to a new release.
    #[serde(default)]
    pub strategy: Strategy,
    /// What speaks against a new release while it is watched.
    #[serde(default)]
    pub judge: JudgeRule,
    /// The deadlines of a deployment.
    #[serde(default)]
    pub timing: Timing,
}

impl Spec {
    /// One service with that workload, with the defaults of everything else and no routes.
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

/// One of the programs that make up a release: its instances are all alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What runs.
    pub workload: Workload,
    /// Where it listens: the port in its container, 0 where it listens nowhere. A process is given its port in `PORT`
    /// instead.
    pub port: u16,
    /// How many instances of the slot run side by side, from 1.
    pub replicas: u16,
    /// Environment variables of the instances.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Which of them are secrets: their values are shown to nobody.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<String>,
    /// Limits on each instance.
    #[serde(default)]
    pub resources: Resources,
    /// What the output of each instance may take on disk.
    #[serde(default)]
    pub log: LogRotation,
    /// Fixed ports on the host, one a slot, where something beside gapless needs to know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ports: Option<HostPorts>,
    /// What says that an instance is well.
    #[serde(default)]
    pub health: HealthCheck,
}

impl Service {
    /// Such a workload, with the defaults of everything else.
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
    /// The hosts that its routes are for.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        self.routes.iter().map(|route| route.host.clone()).collect()
    }

    /// The service that stands for all of them: the one with the shortest path, or without routes the first one.
    #[must_use]
    pub fn main_service(&self) -> Option<(&ServiceName, &Service)> {
        let shortest = self.routes.iter().min_by_key(|route| route.path.as_str().len());
        let routed = shortest.and_then(|route| self.services.get_key_value(&route.service));
        routed.or_else(|| self.services.first_key_value())
    }

    /// The name of the runtime that runs all services, as it is written in `gapless.toml`.
    #[must_use]
    pub fn runtime(&self) -> &'static str {
        // A spec without services is refused before it is recorded.
        self.main_service().map_or("docker", |(_, service)| service.workload.runtime())
    }

    /// Whether the release is made of several services, which reach each other by name.
    #[must_use]
    pub fn has_several_services(&self) -> bool {
        self.services.len() > 1
    }

    /// The same for people to see: without the values of secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Spec {
        let mut shown = self.clone();
        for service in shown.services.values_mut() {
            let secret = service.variables.iter_mut().filter(|(name, _)| service.secrets.contains(*name));
            secret.for_each(|(_, value)| "…".clone_into(value));
        }
        shown
    }

    /// The longest that instances of any service have until they must have passed their checks.
    #[must_use]
    pub fn health_deadline(&self) -> Millis {
        self.services.values().map(|service| service.health.deadline).max().unwrap_or_default()
    }
}

/// That people must approve a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many.
    pub people: u16,
    /// Whether who asked for the deployment is not one of them.
    #[serde(default)]
    pub by_others: bool,
    /// How long it waits for them.
    pub expires: Millis,
}

/// What says that an instance is well: a GET, straight to the instance; or, where it answers no requests, that it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path to get; without one no request is made, and an instance is well once it has run for `settle`.
    pub path: Option<String>,
    /// How long an instance that answers no requests has to have run.
    #[serde(default = "settle")]
    pub settle: Millis,
    /// The port to ask, where it is not the application's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The statuses that mean healthy.
    pub statuses: Vec<u16>,
    /// The Host header; the instance's address without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The longest wait between two checks: while starting they begin 2 ms apart and grow to it.
    pub interval: Millis,
    /// How long one check may take.
    pub timeout: Millis,
    /// How many must pass in a row before the instance takes requests.
    pub passes: u16,
    /// How many must fail in a row before a live instance is taken out of rotation.
    pub failures: u16,
    /// How long a starting instance has until it must have passed.
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
    /// How long resolving and pulling may take.
    pub prepare_timeout: Millis,
    /// How long creating and starting the instances may take.
    pub start_timeout: Millis,
    /// How long the data planes may take to apply the cutover before it is taken back.
    pub shift_timeout: Millis,
    /// How long the new slot is watched after the cutover, with the old one ready to take over again.
    pub observe: Millis,
    /// How long the old slot may take to finish the requests that it has.
    pub drain_timeout: Millis,
    /// How long an instance has from SIGTERM to SIGKILL.
    pub stop_timeout: Millis,
    /// How long the old slot stays ready for rollback after the observation.
    pub keep_warm: Millis,
    /// Whether it is frozen meanwhile, so that it takes no processor time.
    #[serde(default = "yes")]
    pub park: bool,
    /// How many releases stay on the host for a rollback that needs no registry.
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

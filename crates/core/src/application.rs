//! The record of an application in an environment: its live slot, the placements in both slots, and those that leave.

use crate::hook::Migrated;
use crate::spec::{HoldSettings, Service};
use crate::{AppKey, Artifacts, EnvName, HostPattern, InstanceName, PlacementId, ServiceName, Slot, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// An application in one environment. Its routes are derived from this record and from nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The application and environment.
    pub key: AppKey,
    /// The state that people asked for.
    pub desired: Desired,
    /// The slot that new requests go to. **Setting it is the cutover.**
    pub live: Option<Slot>,
    /// The placement in each slot.
    #[serde(default)]
    pub slots: BTreeMap<Slot, Placement>,
    /// Former placements of a slot; each is stopped once no data plane needs it.
    #[serde(default)]
    pub leaving: Vec<Placement>,
    /// The deployment in progress.
    #[serde(default)]
    pub active: Option<Claim>,
    /// Deployments that wait for the active one to end, the next one first.
    #[serde(default)]
    pub queue: Vec<Claim>,
    /// The number of the newest deployment.
    pub last_deployment: u64,
    /// The number of the newest release.
    pub last_release: u64,
    /// The release that was live before the present one: the default target of a rollback.
    #[serde(default)]
    pub previous_release: Option<u64>,
    /// Automatic promotions of releases that have succeeded here, not yet carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promotions: Vec<Promotion>,
    /// The hold on new requests, while a migration needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Held>,
    /// The maintenance mode: a page answers all requests but health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The completed migrations, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migrated>,
    /// The releases that were live most recently, the newest first: they stay on the host for a rollback.
    #[serde(default)]
    pub kept: Vec<KeptRelease>,
}

/// An automatic promotion of a release to another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The target environment.
    pub to: EnvName,
    /// The number of the release here.
    pub release: u64,
}

/// A hold on new requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The start of the hold.
    pub since: Timestamp,
    /// The bounds of the hold.
    pub settings: HoldSettings,
}

/// The maintenance mode of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// The start of the maintenance.
    pub since: Timestamp,
    /// The name of the person who turned it on.
    pub by: String,
    /// The HTML of the answers; `None` uses the page of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// A release that is retained on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRelease {
    /// Its number.
    pub release: u64,
    /// The name of the runtime that runs it.
    pub runtime: String,
    /// The resolved artifacts.
    pub artifacts: Artifacts,
}

/// The state that people asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// The application serves requests.
    Running,
    /// The application is stopped: its requests are answered 503 and none of its instances runs.
    Stopped,
    /// The application and its records are being removed.
    Removed,
}

/// A deployment that is active or queued, and the hosts that it reserves for its routes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The number of the deployment.
    pub deployment: u64,
    /// The hosts of the deployment's release.
    pub hosts: BTreeSet<HostPattern>,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The identity of the placement.
    pub id: PlacementId,
    /// The number of the release.
    pub release: u64,
    /// The release's configuration.
    pub spec: Arc<Spec>,
    /// The resolved artifacts.
    pub artifacts: Artifacts,
    /// The role of the placement while its slot is not the live one.
    pub idle: Idle,
    /// The health checks have passed. A placement without this never becomes live.
    #[serde(default)]
    pub checked: bool,
    /// The placement was in a route table at some time. A placement that never was can be stopped immediately.
    #[serde(default)]
    pub was_routed: bool,
    /// The key that signs the cookies of its canary's visitors.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// The preview token: requests with it reach the placement before it is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// All of the instances are frozen.
    #[serde(default)]
    pub parked: bool,
    /// The placement's share of requests while another slot is live, in percent: a step of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// The instances, in the order of their services and numbers.
    pub replicas: Vec<Replica>,
}

/// The role of a placement while its slot is not the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// The placement is being started and checked, and gets no request.
    Candidate,
    /// The placement was live until the cutover, finishes its requests, and takes over again if the new slot fails.
    Fallback,
    /// The placement is retained for a rollback, and gets no request.
    Standby {
        /// The instant at which it is stopped.
        until: Timestamp,
        /// The instances are frozen meanwhile.
        #[serde(default)]
        park: bool,
    },
}

/// The recorded state of one instance of a placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// The instance's number within its service, from 1.
    pub number: u16,
    /// The address at which the instance answers, once it runs.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// The identity of the instance's current run; a restart changes it.
    #[serde(default)]
    pub run: Option<String>,
    /// The instance gets its share of the slot's requests.
    #[serde(default)]
    pub in_rotation: bool,
}

impl Replica {
    fn new(service: ServiceName, number: u16) -> Self {
        Replica { service, number, address: None, run: None, in_rotation: false }
    }

    /// Takes the instance out of rotation and forgets its run, because the instance has ended or is about to stop.
    pub(crate) fn leave_rotation(&mut self) {
        *self = Replica::new(self.service.clone(), self.number);
    }
}

impl Application {
    /// A new application without placements.
    #[must_use]
    pub fn new(key: AppKey) -> Self {
        Application {
            key,
            desired: Desired::Running,
            live: None,
            slots: BTreeMap::new(),
            leaving: Vec::new(),
            active: None,
            queue: Vec::new(),
            last_deployment: 0,
            last_release: 0,
            previous_release: None,
            promotions: Vec::new(),
            hold: None,
            maintenance: None,
            migrations: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The placement that new requests go to.
    #[must_use]
    pub fn live_placement(&self) -> Option<&Placement> {
        self.slots.get(&self.live?)
    }

    /// The slot that is not the live one: the next release is started there.
    #[must_use]
    pub fn idle_slot(&self) -> Slot {
        self.live.map_or(Slot::Blue, Slot::other)
    }

    /// The hosts that this application owns: those of its placements and of its active and queued deployments.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        let placed = self.slots.values().flat_map(|placement| placement.spec.hosts());
        let claimed = self.active.iter().chain(&self.queue).flat_map(|claim| claim.hosts.iter().cloned());
        placed.chain(claimed).collect()
    }

    /// All placements: those in the slots, then those that leave.
    pub fn placements(&self) -> impl Iterator<Item = &Placement> {
        self.slots.values().chain(&self.leaving)
    }

    /// The placement of the instance with that name.
    #[must_use]
    pub fn placement_of(&self, name: &InstanceName) -> Option<&Placement> {
        self.placements().find(|placement| placement.id == name.placement)
    }

    /// Moves the placement in `slot` to the leaving ones: it is stopped once no data plane needs it.
    pub fn vacate(&mut self, slot: Slot) {
        self.leaving.extend(self.slots.remove(&slot));
        if self.live == Some(slot) {
            self.live = None;
        }
    }
}

impl Placement {
    /// A placement that is about to be started.
    #[must_use]
    pub fn candidate(id: PlacementId, release: u64, spec: Arc<Spec>, artifacts: Artifacts) -> Self {
        let replicas = spec
            .services
            .iter()
            .flat_map(|(name, service)| (1..=service.replicas).map(|number| Replica::new(name.clone(), number)));
        let replicas = replicas.collect();
        Placement {
            id,
            release,
            spec,
            artifacts,
            idle: Idle::Candidate,
            checked: false,
            was_routed: false,
            secret: String::new(),
            preview: None,
            parked: false,
            share: None,
            replicas,
        }
    }

    /// The names of the placement's instances.
    pub fn instances(&self) -> impl Iterator<Item = InstanceName> + '_ {
        self.replicas.iter().map(|replica| self.name_of(replica))
    }

    /// The name of an instance of the placement.
    #[must_use]
    pub fn name_of(&self, replica: &Replica) -> InstanceName {
        self.id.instance(&replica.service, replica.number)
    }

    /// The configuration of a service of the placement.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.spec.services.get(name)
    }
}

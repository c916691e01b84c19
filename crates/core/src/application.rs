//! What is recorded of an application in an environment: which slot is live, what stands in both, what is leaving.

use crate::hook::Migrated;
use crate::spec::{HoldSettings, Service};
use crate::{AppKey, Artifacts, EnvName, HostPattern, InstanceName, PlacementId, ServiceName, Slot, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// An application in one environment. Routes are derived from this record and from nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Which application and environment.
    pub key: AppKey,
    /// What people want of it.
    pub desired: Desired,
    /// The slot that new requests go to. **Setting it is the cutover.**
    pub live: Option<Slot>,
    /// What stands in each slot.
    #[serde(default)]
    pub slots: BTreeMap<Slot, Placement>,
    /// What stood in a slot and is to be stopped once no data plane needs it any more.
    #[serde(default)]
    pub leaving: Vec<Placement>,
    /// The deployment that is under way.
    #[serde(default)]
    pub active: Option<Claim>,
    /// Deployments that wait for it, the next one first.
    #[serde(default)]
    pub queue: Vec<Claim>,
    /// The number of the newest deployment.
    pub last_deployment: u64,
    /// The number of the newest release.
    pub last_release: u64,
    /// The release that was live before the present one: where a rollback without a number goes.
    #[serde(default)]
    pub previous_release: Option<u64>,
    /// Where releases that have succeeded here are to go by themselves, and have not gone yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promotions: Vec<Promotion>,
    /// That new requests are held, while a migration wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Held>,
    /// That it is under maintenance: its requests are answered by a page, apart from health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The migrations that were carried out, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migrated>,
    /// The releases that were live last, the newest first: they stay on the host for a rollback.
    #[serde(default)]
    pub kept: Vec<KeptRelease>,
}

/// That a release is to go on to another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The environment.
    pub to: EnvName,
    /// The number of the release here.
    pub release: u64,
}

/// That new requests are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Since when.
    pub since: Timestamp,
    /// Within which bounds.
    pub settings: HoldSettings,
}

/// That an application is under maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Since when.
    pub since: Timestamp,
    /// Who wants that.
    pub by: String,
    /// The HTML of the answers; the release's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// A release that stays on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRelease {
    /// Its number.
    pub release: u64,
    /// The name of the runtime that runs it.
    pub runtime: String,
    /// What exactly runs.
    pub artifacts: Artifacts,
}

/// What people want of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It serves.
    Running,
    /// It rests: its requests are answered 503 and nothing of it runs.
    Stopped,
    /// It goes, with its records.
    Removed,
}

/// A deployment that is under way or waits, and the hosts that it holds for its routes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The number of the deployment.
    pub deployment: u64,
    /// The hosts of its release.
    pub hosts: BTreeSet<HostPattern>,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Which placement.
    pub id: PlacementId,
    /// The number of the release.
    pub release: u64,
    /// The release's configuration.
    pub spec: Arc<Spec>,
    /// What exactly runs.
    pub artifacts: Artifacts,
    /// What it is while its slot is not the live one.
    pub idle: Idle,
    /// Whether it has passed its checks, without which it never becomes live.
    #[serde(default)]
    pub checked: bool,
    /// Whether it was ever in a route table. What never was can be stopped at once.
    #[serde(default)]
    pub was_routed: bool,
    /// What the cookies of its canary's visitors are signed with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// The token of requests that go to it while it is tested and not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Whether all of its instances are frozen.
    #[serde(default)]
    pub parked: bool,
    /// The share of requests that goes to it while another slot is live, in percent: a step of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// Its instances, in the order of their services and numbers.
    pub replicas: Vec<Replica>,
}

/// What a placement is while its slot is not the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// It is being started and checked, and no request goes to it.
    Candidate,
    /// It was live until the cutover, finishes what it has, and takes over again if the new one fails.
    Fallback,
    /// It is kept running for a rollback until then, and no request goes to it.
    Standby {
        /// When it is stopped.
        until: Timestamp,
        /// Whether it is frozen meanwhile.
        #[serde(default)]
        park: bool,
    },
}

/// One instance of a placement, as far as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Of which service it is an instance.
    pub service: ServiceName,
    /// Its number, from 1.
    pub number: u16,
    /// Where it answers, since it runs.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// Which run of the instance that is: after a restart it is another one.
    #[serde(default)]
    pub run: Option<String>,
    /// Whether it gets its share of the slot's requests.
    #[serde(default)]
    pub in_rotation: bool,
}

impl Replica {
    fn new(service: ServiceName, number: u16) -> Self {
        Replica { service, number, address: None, run: None, in_rotation: false }
    }

    /// It runs no more, or is about to stop: what was seen of it counts no longer.
    pub(crate) fn leave_rotation(&mut self) {
        *self = Replica::new(self.service.clone(), self.number);
    }
}

impl Application {
    /// A new application, of which nothing runs yet.
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

    /// The slot that is not the live one: where the next release goes.
    #[must_use]
    pub fn idle_slot(&self) -> Slot {
        self.live.map_or(Slot::Blue, Slot::other)
    }

    /// The hosts that this application owns: those of what stands in its slots and of its deployments to come.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<HostPattern> {
        let placed = self.slots.values().flat_map(|placement| placement.spec.hosts());
        let claimed = self.active.iter().chain(&self.queue).flat_map(|claim| claim.hosts.iter().cloned());
        placed.chain(claimed).collect()
    }

    /// All placements: in the slots, and leaving.
    pub fn placements(&self) -> impl Iterator<Item = &Placement> {
        self.slots.values().chain(&self.leaving)
    }

    /// The placement that an instance of that name belongs to.
    #[must_use]
    pub fn placement_of(&self, name: &InstanceName) -> Option<&Placement> {
        self.placements().find(|placement| placement.id == name.placement)
    }

    /// Takes what stands in `slot` out of it: it leaves once nothing needs it any more.
    pub fn vacate(&mut self, slot: Slot) {
        self.leaving.extend(self.slots.remove(&slot));
        if self.live == Some(slot) {
            self.live = None;
        }
    }
}

impl Placement {
    /// A release that is about to be started in a slot.
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

    /// The names of its instances.
    pub fn instances(&self) -> impl Iterator<Item = InstanceName> + '_ {
        self.replicas.iter().map(|replica| self.name_of(replica))
    }

    /// The name of one of its instances.
    #[must_use]
    pub fn name_of(&self, replica: &Replica) -> InstanceName {
        self.id.instance(&replica.service, replica.number)
    }

    /// The configuration of one of its services.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.spec.services.get(name)
    }
}

//! The route table: hosts and path prefixes to slots and weights, with a version. It is derived from the application
//! records and never edited; a data plane knows nothing else.

use crate::application::{Application, Desired, Idle, Placement, Replica};
use crate::planted;
use crate::spec::{ForwardSettings, HoldSettings, Route};
use crate::strategy::Choose;
use crate::{AppKey, Millis, PlacementId, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// All routes of a data plane: a group for each application and environment. A host belongs to one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// The store revision that the table was derived from. A data plane rejects a smaller version.
    pub version: u64,
    /// The routes of each application and environment.
    pub groups: BTreeMap<AppKey, Arc<RouteGroup>>,
}

/// The difference between two tables: takes a data plane from version `base` to `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// The version that the data plane must have; at another version it rejects the change and receives the whole
    /// table.
    pub base: u64,
    /// The version afterwards.
    pub version: u64,
    /// The new and changed groups; `None` removes a group.
    pub groups: BTreeMap<AppKey, Option<Arc<RouteGroup>>>,
}

impl RouteTable {
    /// Applies `change`, whose `base` is this table's version.
    pub fn change(&mut self, change: &RouteChange) {
        self.version = change.version;
        for (key, group) in &change.groups {
            match group {
                Some(group) => self.groups.insert(key.clone(), group.clone()),
                None => self.groups.remove(key),
            };
        }
    }
}

/// The routes of one application in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteGroup {
    /// The hosts and paths of the application.
    pub routes: Vec<Route>,
    /// The slots that requests go to. Without a slot of weight above 0 the answer is 503.
    pub slots: Vec<SlotRoute>,
    /// The choice of requests during a canary, where weights alone do not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The settings for forwarding.
    pub forward: ForwardSettings,
    /// The bounds of the hold, while new requests wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldSettings>,
    /// The maintenance page that answers requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceRoute>,
    /// The preview of the release under test, which only requests with its token reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewRoute>,
}

/// The choice of the requests that go to the new slot of two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The new slot's placement.
    pub to: PlacementId,
    /// The rule of the choice.
    pub by: Choose,
    /// The key that signs the cookie of sticky visitors.
    pub key: String,
}

/// The cookie that keeps a visitor on one release for a whole rollout.
pub const STICKY_COOKIE: &str = "gapless-release";

/// The answer of an application in maintenance mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRoute {
    /// The HTML; `None` uses gapless's own short page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The paths of health checks, which still reach the application.
    pub health_paths: Vec<String>,
}

/// The route of requests with the preview token: through the same listener, routes and settings as all others, to a
/// slot that is not live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewRoute {
    /// The value of the header [`PREVIEW_HEADER`] or the cookie [`PREVIEW_COOKIE`].
    pub token: String,
    /// The slot under test.
    pub slot: SlotRoute,
}

/// The header that asks for the preview. A request with an unknown or expired token is refused; the live slot never
/// answers it instead.
pub const PREVIEW_HEADER: &str = "x-gapless-preview";

/// The cookie that asks for the preview, for browsers. An expired token in it has no effect.
pub const PREVIEW_COOKIE: &str = "gapless-preview";

/// The role of a placement in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotRole {
    /// The placement gets requests by its weight.
    Live,
    /// The placement finishes its requests and gets no new ones, except those that could not be sent to the live slot
    /// (the connection failed, or was closed before any byte of the answer).
    Fallback,
}

/// A placement in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRoute {
    /// The identity of the placement.
    pub placement: PlacementId,
    /// The number of its release; used only for logs and counts.
    pub release: u64,
    /// The role in the table.
    pub role: SlotRole,
    /// The share of new requests among the live slots of the group; 0 gets none.
    pub weight: u32,
    /// The instances in rotation, of the services that have routes.
    pub instances: Vec<Backend>,
    /// The time that upgraded connections have once the placement is no longer live; then the data plane closes them
    /// cleanly.
    pub drain_timeout: Millis,
}

/// An instance as the data plane sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// The service that it is an instance of.
    #[serde(default, skip_serializing_if = "ServiceName::is_default")]
    pub service: ServiceName,
    /// The instance's number within its service, from 1.
    pub replica: u16,
    /// The address at which it answers.
    pub address: SocketAddr,
}

impl RouteGroup {
    /// Derives the routes of an application from its record. `None` until a release of it was live or is under test.
    ///
    /// The live slot has all the weight, or shares it with a canary. While the new slot is under observation, the old
    /// one is the fallback. A candidate that has passed its checks is the preview while it is tested and approved.
    /// Other candidates and standbys are never in the table.
    #[must_use]
    pub fn derive(app: &Application) -> Option<RouteGroup> {
        let preview = app.slots.values().filter(|placement| app.live != Some(placement.id.slot) && placement.checked);
        let preview = preview.filter_map(|placement| Some((placement, placement.preview.clone()?))).next();
        let Some(live) = app.live_placement() else {
            // The first release of an application is tested through its own routes; other requests get a 503.
            let (placement, _) = preview.as_ref()?;
            let (routes, forward) = (placement.spec.routes.clone(), placement.spec.forward.clone());
            let preview = preview.map(PreviewRoute::new);
            let slots = Vec::new();
            return Some(RouteGroup { routes, slots, split: None, forward, hold: None, maintenance: None, preview });
        };
        let mut slots = Vec::new();
        let mut split = None;
        if app.desired == Desired::Running {
            let others = app.slots.values().filter(|placement| placement.id != live.id);
            let canary = others.clone().filter(|placement| placement.checked);
            let canary = canary.filter_map(|placement| Some((placement, placement.share?))).next();
            let mut live = SlotRoute::derive(live, SlotRole::Live);
            if let Some((placement, share)) = canary {
                let share = u32::from(share).min(SlotRoute::WEIGHT_FULL);
                live.weight = SlotRoute::WEIGHT_FULL - if planted::overlaps_canary_weights() { 0 } else { share };
                slots.push(SlotRoute { weight: share, ..SlotRoute::derive(placement, SlotRole::Live) });
                split = Split::derive(placement);
            }
            slots.insert(0, live);
            let fallbacks = others.filter(|placement| placement.idle == Idle::Fallback && placement.checked);
            slots.extend(fallbacks.map(|placement| SlotRoute::derive(placement, SlotRole::Fallback)));
        }
        Some(RouteGroup {
            routes: live.spec.routes.clone(),
            slots,
            split,
            forward: live.spec.forward.clone(),
            hold: app.hold.as_ref().map(|held| held.settings.clone()),
            maintenance: app.maintenance.as_ref().map(|maintenance| MaintenanceRoute {
                page: maintenance.page.clone().or_else(|| live.spec.forward.maintenance_page.clone()),
                health_paths: live.spec.services.values().filter_map(|service| service.health.path.clone()).collect(),
            }),
            preview: preview.map(PreviewRoute::new),
        })
    }
}

impl RouteGroup {
    /// All placements that a request can reach.
    pub fn placements(&self) -> impl Iterator<Item = &SlotRoute> {
        self.slots.iter().chain(self.preview.iter().map(|preview| &preview.slot))
    }
}

impl Split {
    fn derive(placement: &Placement) -> Option<Split> {
        let by = placement.spec.strategy.canary()?.choose.clone();
        let key = placement.secret.clone();
        (by != Choose::Random).then(|| Split { to: placement.id.clone(), by, key })
    }
}

impl PreviewRoute {
    fn new((placement, token): (&Placement, String)) -> PreviewRoute {
        PreviewRoute { token, slot: SlotRoute::derive(placement, SlotRole::Live) }
    }
}

impl SlotRoute {
    /// The weight of a slot that gets all requests.
    pub const WEIGHT_FULL: u32 = 100;

    fn derive(placement: &Placement, role: SlotRole) -> SlotRoute {
        let routes = &placement.spec.routes;
        let is_routed = |replica: &&Replica| routes.iter().any(|route| route.service == replica.service);
        let in_rotation = placement.replicas.iter().filter(|replica| replica.in_rotation).filter(is_routed);
        let instances = in_rotation.filter_map(|replica| {
            let address = replica.address?;
            Some(Backend { service: replica.service.clone(), replica: replica.number, address })
        });
        SlotRoute {
            placement: placement.id.clone(),
            release: placement.release,
            role,
            weight: if role == SlotRole::Live { SlotRoute::WEIGHT_FULL } else { 0 },
            instances: instances.collect(),
            drain_timeout: placement.spec.timing.drain_timeout,
        }
    }
}

#[cfg(test)]
mod tests;

//! The route table: hosts and path prefixes to slots and weights, with a version. It is derived from the recorded
//! state and never edited; what the data plane knows of the world is this and nothing else.

use crate::application::{Application, Desired, Idle, Placement, Replica};
use crate::planted;
use crate::spec::{ForwardSettings, HoldSettings, Route};
use crate::strategy::Choose;
use crate::{AppKey, Millis, PlacementId, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything a data plane routes by. One group an application and environment; a host belongs to one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// The store revision that the table was derived at. A data plane never goes back to a smaller one.
    pub version: u64,
    /// The routes of each application and environment.
    pub groups: BTreeMap<AppKey, Arc<RouteGroup>>,
}

/// The difference of two tables: what a data plane that has `base` needs to have `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// The version that the data plane must have; with another one it refuses and is sent the whole table.
    pub base: u64,
    /// The version that it has afterwards.
    pub version: u64,
    /// The groups that are new or other than they were; `None` where one is gone.
    pub groups: BTreeMap<AppKey, Option<Arc<RouteGroup>>>,
}

impl RouteTable {
    /// Makes it what it is after `change`, which begins at its version.
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
    /// Which requests are this application's.
    pub routes: Vec<Route>,
    /// The slots they go to. Without any of weight above 0 the answer is 503.
    pub slots: Vec<SlotRoute>,
    /// Which of the requests go to which slot, where weights alone do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How they are forwarded.
    pub forward: ForwardSettings,
    /// That new requests wait, and within which bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldSettings>,
    /// That requests are answered by a page of gapless's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceRoute>,
    /// The release that is tested while nobody else is sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewRoute>,
}

/// Which of the requests go to the new one of two slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The new slot's placement.
    pub to: PlacementId,
    /// By what they are chosen.
    pub by: Choose,
    /// What the cookie of sticky visitors is signed with.
    pub key: String,
}

/// The cookie that keeps a visitor on one release for a whole rollout.
pub const STICKY_COOKIE: &str = "gapless-release";

/// What is answered while an application is under maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRoute {
    /// The HTML; a short page of gapless's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The paths of health checks, which still reach the application.
    pub health_paths: Vec<String>,
}

/// Where requests go that carry the token: through the same listener, routes and settings as all others, to a slot that
/// is not live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewRoute {
    /// What the header [`PREVIEW_HEADER`] or the cookie [`PREVIEW_COOKIE`] has to say.
    pub token: String,
    /// The slot.
    pub slot: SlotRoute,
}

/// The header that asks for the preview. A request whose token is none (any more) is refused, and never sent to the live
/// slot in its stead.
pub const PREVIEW_HEADER: &str = "x-gapless-preview";

/// The cookie that asks for the preview, for browsers. With an old token it asks for nothing.
pub const PREVIEW_COOKIE: &str = "gapless-preview";

/// What a placement is in the table for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotRole {
    /// It gets requests, by its weight.
    Live,
    /// It finishes what it has and gets no new request, but one that the live slot could not be sent
    /// (connect failed, or closed before any byte of the answer) may be sent here.
    Fallback,
}

/// One placement in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRoute {
    /// Which placement.
    pub placement: PlacementId,
    /// The number of the release that it runs; told to nobody but logs and counts.
    pub release: u64,
    /// What it is in the table for.
    pub role: SlotRole,
    /// Its share of new requests among the live slots of the group; 0 gets none.
    pub weight: u32,
    /// Its instances that are in rotation, of the services that have routes.
    pub instances: Vec<Backend>,
    /// How long upgraded connections may go on when the placement is no longer live; then they are closed in an
    /// orderly way.
    pub drain_timeout: Millis,
}

/// One instance, as the data plane sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// The service that it is an instance of.
    #[serde(default, skip_serializing_if = "ServiceName::is_default")]
    pub service: ServiceName,
    /// Which replica it is, counted from 1.
    pub replica: u16,
    /// Where it answers.
    pub address: SocketAddr,
}

impl RouteGroup {
    /// The routes of an application: a pure function of its record. None as long as none of its releases was ever live.
    ///
    /// The live slot is the only one with weight, but for a canary, which has its share. The slot that was live before is there as fallback while the new one
    /// is observed. A candidate that has passed its checks is there as preview while it is tested and approved; other
    /// candidates, and a standby, never are.
    #[must_use]
    pub fn derive(app: &Application) -> Option<RouteGroup> {
        let preview = app.slots.values().filter(|placement| app.live != Some(placement.id.slot) && placement.checked);
        let preview = preview.filter_map(|placement| Some((placement, placement.preview.clone()?))).next();
        let Some(live) = app.live_placement() else {
            // The first release of an application is tested by its own routes; others get a 503.
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
    /// All placements that any request can go to.
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
    /// All of a live slot's share of the requests.
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

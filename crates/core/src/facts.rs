//! What was observed of the world: the state machine's only knowledge beside the record.

use crate::deployment::Traffic;
use crate::gate::GateResult;
use crate::judge::Comparison;
use crate::planted;
use crate::{Artifacts, InstanceName, PlacementId, RouteGroup, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// What was observed of one application and its surroundings. What is not known is said to be unknown, and nothing is
/// ever decided from it: a runtime or data plane that is away makes gapless wait, never go back or stop things.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What time it is.
    pub now: Timestamp,
    /// What came of preparing the active deployment's release, once something did.
    pub prepared: Option<Result<Artifacts, String>>,
    /// What came of the active deployment's gates: of the attempts since the server was started.
    pub gates: BTreeMap<String, GateEnd>,
    /// Which run of the server this is.
    pub server: String,
    /// What came of the active deployment's hooks, of those that this run of the server has begun.
    pub hooks: BTreeMap<String, GateResult>,
    /// The instances of the application; `None` while the runtime does not answer.
    pub instances: Option<BTreeMap<InstanceName, InstanceFact>>,
    /// All registered data planes.
    pub planes: Vec<PlaneFact>,
    /// Counts of requests by placement, over all data planes.
    pub traffic: BTreeMap<PlacementId, Traffic>,
    /// The new release against the old one, where the active deployment is in a canary or observed and both have been
    /// looked at since.
    pub judged: Option<Comparison>,
    /// What was held of its requests since the data planes were started.
    pub held: HeldSeen,
    /// How long the data planes took to acknowledge the last cutover, in microseconds.
    pub cutover_us: Option<u64>,
}

/// What was held of an application's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldSeen {
    /// How many.
    pub count: u64,
    /// The longest that one was, in microseconds.
    pub longest_us: u64,
    /// The longest from the table that let it go to its being sent on, in microseconds.
    pub release_us: u64,
}

/// What came of an attempt of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateEnd {
    /// Which attempt, from 1.
    pub attempt: u16,
    /// When it began.
    pub since: Timestamp,
    /// What came of it.
    pub result: GateResult,
}

/// What was observed of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFact {
    /// Whether it runs.
    pub state: InstanceSeen,
    /// How its health checks went.
    pub health: Health,
    /// Why starting it failed for good, if it did.
    pub start_error: Option<String>,
    /// When it may be started again, after it exited.
    pub restart_at: Timestamp,
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceSeen {
    /// There is none of that name.
    Missing,
    /// It exists and does not run yet.
    Created,
    /// It is frozen.
    Frozen {
        /// Which run it is: the same as before, and after it goes on.
        run: String,
    },
    /// It runs.
    Running {
        /// Where it answers.
        address: SocketAddr,
        /// Which run it is: after a restart it is another one.
        run: String,
    },
    /// The runtime ended it and was away meanwhile, as where Docker is restarted: that says nothing of its release. It is
    /// to be started again, or just was.
    Interrupted,
    /// It ended.
    Exited {
        /// Whether the kernel killed it for its memory.
        out_of_memory: bool,
        /// How it ended and what it last said, for people.
        story: String,
    },
}

impl InstanceSeen {
    /// Whether it runs or is frozen, so that there is nothing to start.
    #[must_use]
    pub const fn is_there_to_stay(&self) -> bool {
        matches!(self, InstanceSeen::Running { .. } | InstanceSeen::Frozen { .. })
    }
}

/// How the health checks of one run of an instance went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// How many passed in a row, up to now.
    pub passes: u16,
    /// When the last one passed.
    pub passed_at: Timestamp,
    /// How many failed in a row, up to now.
    pub failures: u16,
    /// What the last failed one saw, for people.
    pub last_failure: Option<String>,
}

/// What is known of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneFact {
    /// Its name.
    pub name: String,
    /// What it acknowledged; `None` while it is away.
    pub view: Option<PlaneView>,
}

/// What a data plane acknowledged and reports, of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneView {
    /// The routes that it goes by.
    pub group: Option<Arc<RouteGroup>>,
    /// Requests in flight by placement, reported after it had acknowledged these routes; `None` until it has.
    pub in_flight: Option<BTreeMap<PlacementId, u64>>,
    /// Since when it is known to send nothing to the placements that are not in its routes.
    pub since: Timestamp,
    /// Placements that it sends nothing any more, though its routes say so, because so many requests in a row could not
    /// be sent there; they go to the fallback.
    pub given_up: BTreeMap<PlacementId, u64>,
    /// Where a placement left its routes later than that, when it did.
    pub left_at: BTreeMap<PlacementId, Timestamp>,
}

impl Facts {
    /// The fact of one instance; `None` while the runtime does not answer.
    #[must_use]
    pub fn instance(&self, name: &InstanceName) -> Option<InstanceFact> {
        let instances = self.instances.as_ref()?;
        Some(instances.get(name).cloned().unwrap_or(InstanceFact {
            state: InstanceSeen::Missing,
            health: Health::default(),
            start_error: None,
            restart_at: Timestamp::default(),
        }))
    }

    /// The data planes that do not go by `wanted`, or are away.
    #[must_use]
    pub fn planes_behind(&self, wanted: Option<&RouteGroup>) -> Vec<&str> {
        if self.planes.is_empty() {
            return vec!["(none is registered)"];
        }
        let behind = |plane: &&PlaneFact| match &plane.view {
            Some(view) => view.group.as_deref() != wanted,
            None => !planted::takes_away_for_unrouted(),
        };
        self.planes.iter().filter(behind).map(|plane| plane.name.as_str()).collect()
    }

    /// Since when no data plane sends the placement, which is in none of their routes, anything new: its drain deadline
    /// counts from here.
    #[must_use]
    pub fn unrouted_since(&self, placement: &PlacementId) -> Option<Timestamp> {
        let views = self.planes.iter().map(|plane| plane.view.as_ref());
        let since = views.map(|view| view.map(|view| view.left_at.get(placement).copied().unwrap_or(view.since)));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Whether every data plane says that nothing is in flight to the placement.
    #[must_use]
    pub fn is_drained(&self, placement: &PlacementId) -> bool {
        self.planes.iter().all(|plane| {
            let in_flight = plane.view.as_ref().and_then(|view| view.in_flight.as_ref());
            let is_none = |counts: &BTreeMap<_, u64>| counts.get(placement).copied().unwrap_or(0) == 0;
            in_flight.map_or(planted::takes_unknown_for_drained(), is_none)
        })
    }
}

//! The facts: everything that the state machine knows of the world beside the records. The controller observes them,
//! the core never does.

use crate::deployment::Traffic;
use crate::gate::GateResult;
use crate::judge::Comparison;
use crate::planted;
use crate::{Artifacts, InstanceName, PlacementId, RouteGroup, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The observations of one application and its surroundings at one moment. An unknown fact is `None` and decides
/// nothing: while a runtime or a data plane does not answer, the machine waits; it never reverts or stops anything for
/// that.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The present instant.
    pub now: Timestamp,
    /// The result of preparing the active deployment's release; `None` until it is known.
    pub prepared: Option<Result<Artifacts, String>>,
    /// The last attempt of each gate of the active deployment, of those that this run of the server made.
    pub gates: BTreeMap<String, GateEnd>,
    /// The identity of this run of the server; a restart changes it.
    pub server: String,
    /// The results of the active deployment's hooks, of those that this run of the server started.
    pub hooks: BTreeMap<String, GateResult>,
    /// The instances of the application; `None` while the runtime does not answer.
    pub instances: Option<BTreeMap<InstanceName, InstanceFact>>,
    /// All registered data planes.
    pub planes: Vec<PlaneFact>,
    /// Counts of requests by placement, summed over all data planes.
    pub traffic: BTreeMap<PlacementId, Traffic>,
    /// The comparison of both releases, while the active deployment is in a canary or under observation and both have
    /// been measured since.
    pub judged: Option<Comparison>,
    /// The requests of the application that were held since the start of the data planes.
    pub held: HeldSeen,
    /// The time that the data planes took to acknowledge the last cutover, in microseconds.
    pub cutover_us: Option<u64>,
}

/// The requests of an application that were held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldSeen {
    /// The number of requests.
    pub count: u64,
    /// The longest hold, in microseconds.
    pub longest_us: u64,
    /// The longest time from the table that lifted the hold to the forwarding of a request, in microseconds.
    pub release_us: u64,
}

/// The result of an attempt of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateEnd {
    /// The number of the attempt, from 1.
    pub attempt: u16,
    /// The start of the attempt.
    pub since: Timestamp,
    /// The result of the attempt.
    pub result: GateResult,
}

/// The observations of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFact {
    /// The state of its container or process.
    pub state: InstanceSeen,
    /// The results of its health checks.
    pub health: Health,
    /// The error of a start that is not retried.
    pub start_error: Option<String>,
    /// The earliest instant of a restart after an exit.
    pub restart_at: Timestamp,
}

/// The state of an instance's container or process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceSeen {
    /// No instance of that name exists.
    Missing,
    /// The instance exists and has not been started.
    Created,
    /// The instance is frozen.
    Frozen {
        /// The identity of the run; freezing and resuming do not change it.
        run: String,
    },
    /// The instance runs.
    Running {
        /// The address at which it answers.
        address: SocketAddr,
        /// The identity of the run; a restart changes it.
        run: String,
    },
    /// The runtime ended the instance while it was itself away, such as during a restart of Docker. The end says
    /// nothing about the release; the instance waits for its restart, or was just restarted.
    Interrupted,
    /// The instance exited.
    Exited {
        /// The kernel killed it because it exceeded its memory.
        out_of_memory: bool,
        /// The exit and the last lines of output, for people.
        details: String,
    },
}

impl InstanceSeen {
    /// The instance runs or is frozen, so there is nothing to start.
    #[must_use]
    pub const fn is_running_or_frozen(&self) -> bool {
        matches!(self, InstanceSeen::Running { .. } | InstanceSeen::Frozen { .. })
    }
}

/// The results of the health checks of one run of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// The number of passes in a row up to now.
    pub passes: u16,
    /// The instant of the last pass.
    pub passed_at: Timestamp,
    /// The number of failures in a row up to now.
    pub failures: u16,
    /// The finding of the last failed check, for people.
    pub last_failure: Option<String>,
}

/// The observations of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneFact {
    /// Its name.
    pub name: String,
    /// The state that it acknowledged and reported; `None` while it does not answer.
    pub view: Option<PlaneView>,
}

/// The state that a data plane acknowledged and reported for one application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaneView {
    /// The routes that it applies.
    pub group: Option<Arc<RouteGroup>>,
    /// Requests in flight by placement, reported after the acknowledgement of these routes; `None` until then.
    pub in_flight: Option<BTreeMap<PlacementId, u64>>,
    /// The earliest instant since which it sends nothing to placements outside its routes.
    pub since: Timestamp,
    /// Placements that it no longer sends requests to although its routes name them, each with the number of requests
    /// in a row that could not be sent there. Their requests go to the fallback.
    pub circuit_open: BTreeMap<PlacementId, u64>,
    /// The instant at which a placement left its routes, if that is later than `since`.
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

    /// The names of the data planes that do not apply `wanted` or do not answer.
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

    /// The instant since which no data plane sends new requests to a placement that is in none of their routes; `None`
    /// while that is unknown. The drain deadline counts from this instant.
    #[must_use]
    pub fn unrouted_since(&self, placement: &PlacementId) -> Option<Timestamp> {
        let views = self.planes.iter().map(|plane| plane.view.as_ref());
        let since = views.map(|view| view.map(|view| view.left_at.get(placement).copied().unwrap_or(view.since)));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Every data plane reports no request in flight to the placement.
    #[must_use]
    pub fn is_drained(&self, placement: &PlacementId) -> bool {
        self.planes.iter().all(|plane| {
            let in_flight = plane.view.as_ref().and_then(|view| view.in_flight.as_ref());
            let is_none = |counts: &BTreeMap<_, u64>| counts.get(placement).copied().unwrap_or(0) == 0;
            in_flight.map_or(planted::takes_unknown_for_drained(), is_none)
        })
    }
}

//! The world outside the control plane: instances, what the data planes route to, and the rules that must never break.

use crate::dice::Dice;
use gapless_core::{InstanceName, PlacementId, RouteTable, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Lines of its story that a simulation keeps.
const STORY_LINES_MAX: usize = 5_000;

/// The world, shared by all fakes.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) began: Instant,
    /// Whether things go wrong by chance.
    pub(crate) has_faults: bool,
    pub(crate) instances: BTreeMap<InstanceName, Instance>,
    pub(crate) planes: Vec<PlaneState>,
    /// Placements of which an instance died by chance: requests to them may fail.
    pub(crate) died: BTreeSet<PlacementId>,
    pub(crate) requests: u64,
    next_address: u32,
    pub(crate) violations: Vec<String>,
    pub(crate) story: Vec<String>,
}

/// An instance of the fake runtime.
pub(crate) struct Instance {
    pub(crate) is_running: bool,
    pub(crate) is_frozen: bool,
    /// Whether it comes back after a reboot of its host.
    pub(crate) comes_back: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) address: SocketAddr,
    pub(crate) run: u64,
    pub(crate) since: Timestamp,
    pub(crate) behaviour: Behaviour,
    /// Whether a health check ever found it well.
    pub(crate) has_passed: bool,
}

/// How the instances of a placement behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    NeverHealthy,
    ExitsWhileStarting,
    /// So many milliseconds after it was first healthy.
    ExitsAfter(u64),
}

/// What a fake data plane goes by.
#[derive(Default)]
pub(crate) struct PlaneState {
    pub(crate) is_away: bool,
    pub(crate) table: Arc<RouteTable>,
    pub(crate) in_flight: BTreeMap<PlacementId, u64>,
    pub(crate) requests: BTreeMap<PlacementId, u64>,
    /// When the placement left its routes.
    pub(crate) unrouted_at: BTreeMap<PlacementId, Instant>,
}

impl World {
    pub(crate) fn new(has_faults: bool) -> Self {
        World(Arc::new(Mutex::new(State {
            began: Instant::now(),
            has_faults,
            instances: BTreeMap::new(),
            planes: Vec::new(),
            died: BTreeSet::new(),
            requests: 0,
            next_address: 1,
            violations: Vec::new(),
            story: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, line: impl Into<String>) {
        self.lock().tell(line);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.lock().now()
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.lock().has_faults
    }
}

impl State {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(1_000_000 + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn tell(&mut self, line: impl Into<String>) {
        if self.story.len() < STORY_LINES_MAX {
            let at = self.began.elapsed().as_millis();
            self.story.push(format!("{at:>8} ms  {}", line.into()));
        }
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    pub(crate) fn start(&mut self, name: &InstanceName, behaviour: Behaviour) {
        let since = self.now();
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + self.next_address), 9000));
        if let Some(instance) = self.instances.get_mut(name) {
            if !instance.is_running {
                instance.is_running = true;
                instance.is_frozen = false;
                instance.run += 1;
                instance.since = since;
                self.tell(format!("{name} runs again"));
            }
            return;
        }
        self.next_address += 1;
        let instance = Instance {
            is_running: behaviour != Behaviour::ExitsWhileStarting,
            is_frozen: false,
            comes_back: false,
            out_of_memory: false,
            address,
            run: 1,
            since,
            behaviour,
            has_passed: false,
        };
        self.instances.insert(name.clone(), instance);
        self.tell(format!("{name} runs ({behaviour:?})"));
    }

    /// gapless stops an instance: nothing may route to it, and nothing may be in flight before its drain deadline.
    pub(crate) fn stop(&mut self, name: &InstanceName, drain_ms: u64) {
        if self.instances.remove(name).is_none() {
            return;
        }
        self.tell(format!("{name} is stopped"));
        self.must_be_unused(name, "stopped", drain_ms);
    }

    /// gapless freezes an instance: the same as for a stop.
    pub(crate) fn freeze(&mut self, name: &InstanceName, drain_ms: u64) {
        let Some(instance) = self.instances.get_mut(name).filter(|i| i.is_running && !i.is_frozen) else { return };
        instance.is_frozen = true;
        self.tell(format!("{name} is frozen"));
        self.must_be_unused(name, "frozen", drain_ms);
    }

    pub(crate) fn thaw(&mut self, name: &InstanceName) {
        if let Some(instance) = self.instances.get_mut(name).filter(|instance| instance.is_frozen) {
            instance.is_frozen = false;
            self.tell(format!("{name} goes on"));
        }
    }

    fn must_be_unused(&mut self, name: &InstanceName, what: &str, drain_ms: u64) {
        let placement = &name.placement;
        let mut violations = Vec::new();
        for plane in &self.planes {
            let mut routes = plane.table.groups.values().flat_map(|group| group.placements());
            if routes.any(|slot| slot.placement == *placement && !slot.instances.is_empty()) {
                violations.push(format!("{name} is {what} while a data plane routes to it"));
            }
            let in_flight = plane.in_flight.get(placement).copied().unwrap_or(0);
            let drained_for = plane.unrouted_at.get(placement).map(|at| at.elapsed().as_millis());
            if in_flight > 0 && drained_for.is_none_or(|ms| ms < u128::from(drain_ms)) {
                violations.push(format!("{name} is {what} with {in_flight} requests in flight"));
            }
        }
        violations.into_iter().for_each(|violation| self.violate(violation));
    }

    /// A data plane goes by a new table: only what has passed its checks may be in it, and one slot may be live.
    pub(crate) fn apply(&mut self, index: usize, table: Arc<RouteTable>) {
        let mut violations = Vec::new();
        for (key, group) in &table.groups {
            let weights: Vec<_> = group.slots.iter().map(|slot| slot.weight).filter(|weight| *weight > 0).collect();
            if weights.len() > 2 || (!weights.is_empty() && weights.iter().sum::<u32>() != 100) {
                violations.push(format!("{key} has live slots of the weights {weights:?}"));
            }
            for slot in group.placements() {
                for backend in &slot.instances {
                    let name = slot.placement.instance(&backend.service, backend.replica);
                    if self.instances.get(&name).is_some_and(|instance| !instance.has_passed) {
                        violations.push(format!("{name} is routed and never passed a check"));
                    }
                }
            }
        }
        let live = |table: &RouteTable| {
            let slots = table.groups.values().flat_map(|group| &group.slots).filter(|slot| slot.weight > 0);
            slots.map(|slot| slot.placement.clone()).collect::<BTreeSet<_>>()
        };
        let routed = |table: &RouteTable| {
            let slots = table.groups.values().flat_map(|group| group.placements());
            slots.map(|slot| slot.placement.clone()).collect::<BTreeSet<_>>()
        };
        if let Some(plane) = self.planes.get_mut(index) {
            if table.version < plane.table.version {
                violations.push(format!("version {} follows {}", table.version, plane.table.version));
            }
            for gone in routed(&plane.table).difference(&routed(&table)) {
                plane.unrouted_at.insert(gone.clone(), Instant::now());
            }
            let (before, after) = (live(&plane.table), live(&table));
            plane.table = table;
            if before != after {
                let shown: Vec<_> = after.iter().map(ToString::to_string).collect();
                self.tell(format!("data plane {index} sends requests to {}", shown.join(", ")));
            }
        }
        violations.into_iter().for_each(|violation| self.violate(violation));
    }

    /// A request arrives at a data plane. It may fail only if an instance died by chance, or nothing was ever live.
    pub(crate) fn request(&mut self, index: usize, dice: &Dice) -> Option<PlacementId> {
        let plane = self.planes.get_mut(index)?;
        let groups: Vec<_> = plane.table.groups.values().cloned().collect();
        let group = groups.get(usize::try_from(dice.below(groups.len() as u64)).unwrap_or(0))?;
        if group.hold.is_some() {
            return None;
        }
        let total: u64 = group.slots.iter().map(|slot| u64::from(slot.weight)).sum();
        let mut drawn = dice.below(total.max(1));
        let slot = group.slots.iter().find(|slot| {
            let is_hit = drawn < u64::from(slot.weight);
            drawn = drawn.saturating_sub(u64::from(slot.weight));
            is_hit
        })?;
        let count = slot.instances.len() as u64;
        let backend = slot.instances.get(usize::try_from(dice.below(count)).unwrap_or(0))?;
        let name = slot.placement.instance(&backend.service, backend.replica);
        *plane.in_flight.entry(slot.placement.clone()).or_default() += 1;
        *plane.requests.entry(slot.placement.clone()).or_default() += 1;
        self.requests += 1;
        let answers =
            self.instances.get(&name).is_some_and(|i| i.is_running && !i.is_frozen && i.address == backend.address);
        if !answers && !self.died.contains(&slot.placement) {
            self.violate(format!("a request was sent to {name}, which does not run"));
        }
        Some(slot.placement.clone())
    }

    pub(crate) fn finish(&mut self, index: usize, placement: &PlacementId) {
        if let Some(count) = self.planes.get_mut(index).and_then(|plane| plane.in_flight.get_mut(placement)) {
            *count = count.saturating_sub(1);
        }
    }

    /// An instance dies by chance.
    pub(crate) fn die(&mut self, name: &InstanceName, out_of_memory: bool) {
        let Some(instance) = self.instances.get_mut(name).filter(|instance| instance.is_running) else { return };
        instance.is_running = false;
        instance.is_frozen = false;
        instance.out_of_memory = out_of_memory;
        self.died.insert(name.placement.clone());
        self.tell(format!("{name} dies{}", if out_of_memory { " of memory" } else { "" }));
    }
}

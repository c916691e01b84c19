//! The world outside the control plane: instances, the tables of the data planes, and the rules that must always hold.

use crate::rng::Rng;
use crate::timeline::{Source, Timeline};
use gapless_core::{AppKey, InstanceName, PlacementId, RouteTable, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock at the start of a simulation: late enough to be set back by ten years.
const WALL_BEGAN_MS: u64 = 1_700_000_000_000;

/// The world, shared by all fakes.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) began: Instant,
    /// Random faults are switched on.
    pub(crate) has_faults: bool,
    /// The offset of the wall clock, forward or back.
    pub(crate) wall_offset_ms: i64,
    /// The instant until which the disk of the store and of the runtime is full.
    pub(crate) disk_full_until: Instant,
    pub(crate) instances: BTreeMap<InstanceName, Instance>,
    pub(crate) planes: Vec<PlaneState>,
    /// The addresses of instances that exited on their own: requests to them may fail.
    died: BTreeSet<SocketAddr>,
    /// Placements with an exited instance, or stopped by people: they may have no instance in rotation.
    may_be_empty: BTreeSet<PlacementId>,
    /// Placements that were in the routes of some revision of the records.
    pub(crate) recorded: BTreeSet<PlacementId>,
    /// The hooks that were started.
    hooks_started: BTreeSet<(AppKey, u64, String)>,
    pub(crate) requests: u64,
    next_address: u32,
    pub(crate) violations: Vec<String>,
    pub(crate) timeline: Timeline,
}

/// An instance of the fake runtime.
pub(crate) struct Instance {
    pub(crate) is_running: bool,
    pub(crate) is_frozen: bool,
    /// The instance starts again after a reboot of its host.
    pub(crate) comes_back: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) address: SocketAddr,
    pub(crate) run: u64,
    pub(crate) since: Timestamp,
    pub(crate) started_at: Instant,
    pub(crate) behaviour: Behaviour,
    /// The present run has passed a health check.
    pub(crate) has_passed: bool,
}

/// The behaviour of a service's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    NeverHealthy,
    ExitsWhileStarting,
    /// Exits this many milliseconds after its start, once it has passed a check.
    ExitsAfter(u64),
}

/// The state of a fake data plane.
#[derive(Default)]
pub(crate) struct PlaneState {
    pub(crate) is_away: bool,
    /// The number of its restarts, each of which ends the requests in flight.
    pub(crate) epoch: u64,
    pub(crate) table: Arc<RouteTable>,
    pub(crate) in_flight: BTreeMap<PlacementId, u64>,
    pub(crate) requests: BTreeMap<PlacementId, u64>,
    /// The instant at which each placement left the routes.
    pub(crate) unrouted_at: BTreeMap<PlacementId, Instant>,
}

impl World {
    pub(crate) fn new(has_faults: bool, keeps_timeline: bool) -> Self {
        let began = Instant::now();
        World(Arc::new(Mutex::new(State {
            began,
            has_faults,
            wall_offset_ms: 0,
            disk_full_until: began,
            instances: BTreeMap::new(),
            planes: Vec::new(),
            died: BTreeSet::new(),
            may_be_empty: BTreeSet::new(),
            recorded: BTreeSet::new(),
            hooks_started: BTreeSet::new(),
            requests: 0,
            next_address: 1,
            violations: Vec::new(),
            timeline: Timeline::new(keeps_timeline),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, source: Source, line: impl FnOnce() -> String) {
        self.lock().log(source, line);
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.lock().wall()
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.lock().has_faults
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        let state = self.lock();
        state.has_faults && Instant::now() < state.disk_full_until
    }
}

impl State {
    /// The present wall-clock time.
    pub(crate) fn wall(&self) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp((WALL_BEGAN_MS + elapsed).saturating_add_signed(self.wall_offset_ms))
    }

    pub(crate) fn log(&mut self, source: Source, line: impl FnOnce() -> String) {
        let at = self.began.elapsed();
        self.timeline.log(at, source, line);
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.log(Source::Judge, || format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    pub(crate) fn start(&mut self, name: &InstanceName, behaviour: Behaviour) {
        let since = self.wall();
        let known = self.instances.get(name);
        if known.is_some_and(|instance| instance.is_running) {
            return;
        }
        // Each run has an address of its own, as containers may.
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + self.next_address), 9000));
        self.next_address += 1;
        let run = known.map_or(1, |instance| instance.run + 1);
        let instance = Instance {
            is_running: behaviour != Behaviour::ExitsWhileStarting,
            is_frozen: false,
            comes_back: known.is_some_and(|instance| instance.comes_back),
            out_of_memory: false,
            address,
            run,
            since,
            started_at: Instant::now(),
            behaviour: known.map_or(behaviour, |instance| instance.behaviour),
            has_passed: false,
        };
        self.instances.insert(name.clone(), instance);
        self.log(Source::Runtime, || match run {
            1 => format!("{name} runs ({behaviour:?})"),
            _ => format!("{name} runs again"),
        });
    }

    /// Stops an instance for gapless. No data plane may route to it, and no request may be in flight before the drain
    /// deadline.
    pub(crate) fn stop(&mut self, name: &InstanceName, drain: Duration) {
        let Some(instance) = self.instances.remove(name) else { return };
        self.log(Source::Runtime, || format!("{name} is stopped"));
        self.may_be_empty.insert(name.placement.clone());
        if instance.is_running {
            self.must_be_unused(name, "stopped", drain);
        }
    }

    /// Freezes an instance for gapless, under the same rules as a stop.
    pub(crate) fn freeze(&mut self, name: &InstanceName, drain: Duration) {
        let Some(instance) = self.instances.get_mut(name).filter(|i| i.is_running && !i.is_frozen) else { return };
        instance.is_frozen = true;
        self.log(Source::Runtime, || format!("{name} is frozen"));
        self.must_be_unused(name, "frozen", drain);
    }

    pub(crate) fn thaw(&mut self, name: &InstanceName) {
        if let Some(instance) = self.instances.get_mut(name).filter(|instance| instance.is_frozen) {
            instance.is_frozen = false;
            self.log(Source::Runtime, || format!("{name} resumes"));
        }
    }

    fn must_be_unused(&mut self, name: &InstanceName, what: &str, drain: Duration) {
        let placement = &name.placement;
        let mut violations = Vec::new();
        for plane in &self.planes {
            let mut routes = plane.table.groups.values().flat_map(|group| group.placements());
            if routes.any(|slot| slot.placement == *placement && !slot.instances.is_empty()) {
                violations.push(format!("{name} is {what} while a data plane routes to it"));
            }
            let in_flight = plane.in_flight.get(placement).copied().unwrap_or(0);
            let drained_for = plane.unrouted_at.get(placement).map(|at| at.elapsed());
            // A clock that was set catches up by a fiftieth of the time.
            if in_flight > 0 && drained_for.is_none_or(|for_long| for_long < drain.mul_f64(0.975)) {
                violations.push(format!("{name} is {what} with {in_flight} requests in flight"));
            }
        }
        violations.into_iter().for_each(|violation| self.violate(violation));
    }

    /// Records the start of a hook, which must never start twice.
    pub(crate) fn start_hook(&mut self, key: &AppKey, deployment: u64, name: &str) {
        if !self.hooks_started.insert((key.clone(), deployment, name.to_owned())) {
            self.violate(format!("{key}: the hook {name} of deployment {deployment} is started twice"));
        }
    }

    /// Records that people stop an application: after its next start the slot is live before its instances are
    /// observed.
    pub(crate) fn expect_emptiness(&mut self, key: &AppKey) {
        let theirs = self.recorded.iter().filter(|placement| placement.key == *key).cloned();
        self.may_be_empty.extend(theirs);
    }

    /// Forgets an application whose records are gone.
    pub(crate) fn forget(&mut self, key: &AppKey) {
        self.hooks_started.retain(|(of, _, _)| of != key);
        self.may_be_empty.retain(|placement| placement.key != *key);
    }

    /// Applies a table in a data plane. Only placements that have passed their checks may be in it, and weights sum to
    /// 100.
    pub(crate) fn apply(&mut self, index: usize, table: Arc<RouteTable>) {
        let mut violations = Vec::new();
        for (key, group) in &table.groups {
            let weights: Vec<_> = group.slots.iter().map(|slot| slot.weight).filter(|weight| *weight > 0).collect();
            if weights.len() > 2 || (!weights.is_empty() && weights.iter().sum::<u32>() != 100) {
                violations.push(format!("{key} has live slots of the weights {weights:?}"));
            }
            for slot in group.placements() {
                if !self.recorded.contains(&slot.placement) {
                    violations.push(format!("{} is routed, and no revision of the records routes it", slot.placement));
                }
                for backend in &slot.instances {
                    let name = slot.placement.instance(&backend.service, backend.replica);
                    // Another address is of an earlier run, which has exited: its requests are checked when they
                    // arrive.
                    let instance = self.instances.get(&name).filter(|instance| instance.address == backend.address);
                    if instance.is_some_and(|instance| !instance.has_passed) {
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
            for gone in routed(&plane.table).difference(&routed(&table)) {
                plane.unrouted_at.insert(gone.clone(), Instant::now());
            }
            let (before, after) = (live(&plane.table), live(&table));
            plane.table = table;
            if before != after {
                self.log(Source::Plane(index), || {
                    let shown: Vec<_> = after.iter().map(ToString::to_string).collect();
                    format!("sends requests to {}", shown.join(", "))
                });
            }
        }
        violations.into_iter().for_each(|violation| self.violate(violation));
    }

    /// Sends a request through a data plane. It may fail only if an instance exited, or nothing was ever live.
    pub(crate) fn request(&mut self, index: usize, rng: &Rng) -> Option<PlacementId> {
        let plane = self.planes.get_mut(index)?;
        let count = plane.table.groups.len() as u64;
        let group = plane.table.groups.values().nth(usize::try_from(rng.below(count)).unwrap_or(0))?.clone();
        if group.hold.is_some() {
            return None;
        }
        let total: u64 = group.slots.iter().map(|slot| u64::from(slot.weight)).sum();
        let mut drawn = rng.below(total.max(1));
        let slot = group.slots.iter().find(|slot| {
            let is_hit = drawn < u64::from(slot.weight);
            drawn = drawn.saturating_sub(u64::from(slot.weight));
            is_hit
        })?;
        let count = slot.instances.len() as u64;
        let Some(backend) = slot.instances.get(usize::try_from(rng.below(count)).unwrap_or(0)) else {
            if !self.may_be_empty.contains(&slot.placement) {
                self.violate(format!("a request finds no instance of {}, which is live", slot.placement));
            }
            return None;
        };
        *plane.in_flight.entry(slot.placement.clone()).or_default() += 1;
        *plane.requests.entry(slot.placement.clone()).or_default() += 1;
        self.requests += 1;
        let name = slot.placement.instance(&backend.service, backend.replica);
        let answers =
            self.instances.get(&name).is_some_and(|i| i.is_running && !i.is_frozen && i.address == backend.address);
        if !answers && !self.died.contains(&backend.address) {
            self.violate(format!("a request was sent to {name}, which does not run"));
        }
        Some(slot.placement.clone())
    }

    /// Finishes a request, unless the data plane has restarted since.
    pub(crate) fn finish(&mut self, index: usize, epoch: u64, placement: &PlacementId) {
        let plane = self.planes.get_mut(index).filter(|plane| plane.epoch == epoch);
        if let Some(count) = plane.and_then(|plane| plane.in_flight.get_mut(placement)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Ends an instance on its own, not for gapless.
    pub(crate) fn die(&mut self, name: &InstanceName, out_of_memory: bool) {
        let Some(instance) = self.instances.get_mut(name).filter(|instance| instance.is_running) else { return };
        instance.is_running = false;
        instance.is_frozen = false;
        instance.out_of_memory = out_of_memory;
        let address = instance.address;
        self.died.insert(address);
        self.may_be_empty.insert(name.placement.clone());
        self.log(Source::Runtime, || format!("{name} exits{}", if out_of_memory { ": out of memory" } else { "" }));
    }

    /// Reboots the host: instances with a restart policy run again under other addresses, the data planes apply their
    /// tables from disk, and no request is in flight.
    pub(crate) fn reboot(&mut self) {
        self.log(Source::Chance, || "the host reboots".to_owned());
        let running: Vec<_> =
            self.instances.iter().filter(|(_, i)| i.is_running).map(|(name, _)| name.clone()).collect();
        for name in running {
            self.die(&name, false);
            let instance = self.instances.get(&name);
            if let Some(behaviour) = instance.filter(|it| it.comes_back).map(|it| it.behaviour) {
                self.start(&name, behaviour);
            }
        }
        (0..self.planes.len()).for_each(|index| self.restart_plane(index));
    }

    /// Restarts the process of a data plane.
    pub(crate) fn restart_plane(&mut self, index: usize) {
        if let Some(plane) = self.planes.get_mut(index) {
            plane.epoch += 1;
            plane.in_flight.clear();
            plane.requests.clear();
        }
    }
}

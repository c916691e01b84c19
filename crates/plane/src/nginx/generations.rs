//! Generations of workers: each reload leaves one behind that finishes its requests. nginx does not report them, so a
//! placement counts as in flight while a worker lives that had it in its configuration.

use super::master::{Worker, WorkerStatus};
use gapless_core::{PlacementId, RouteTable, SlotRole};
use std::collections::{BTreeMap, BTreeSet};

/// The workers that are ending, grouped by their configuration.
#[derive(Debug, Default)]
pub(super) struct Generations {
    old: Vec<Generation>,
}

#[derive(Debug)]
struct Generation {
    workers: BTreeSet<Worker>,
    /// The placements in the workers' configuration; `None` if an earlier run of the server wrote it.
    placements: Option<BTreeSet<PlacementId>>,
}

impl Generations {
    /// Records that `workers` were replaced. The workers that are in no generation yet form a new
    /// generation, with `placements`.
    pub(super) fn retire(&mut self, workers: &[WorkerStatus], placements: Option<BTreeSet<PlacementId>>) {
        let is_old = |worker: &Worker| self.old.iter().any(|generation| generation.workers.contains(worker));
        let workers: BTreeSet<_> = workers.iter().map(|it| it.worker).filter(|worker| !is_old(worker)).collect();
        if !workers.is_empty() {
            self.old.push(Generation { workers, placements });
        }
    }

    /// Removes workers that are not among the `running` ones, and generations without workers.
    pub(super) fn remove_ended(&mut self, running: &[WorkerStatus]) {
        for generation in &mut self.old {
            generation.workers.retain(|worker| running.iter().any(|it| it.worker == *worker));
        }
        self.old.retain(|generation| !generation.workers.is_empty());
    }

    /// True if all workers of all generations are among `ending`.
    pub(super) fn are_all_in(&self, ending: &[WorkerStatus]) -> bool {
        let mut workers = self.old.iter().flat_map(|generation| &generation.workers);
        workers.all(|worker| ending.iter().any(|it| it.worker == *worker))
    }

    /// The number of generations.
    pub(super) fn count(&self) -> usize {
        self.old.len()
    }

    /// The number of old workers by placement; `None` while the placements of an old worker are unknown.
    pub(super) fn in_flight(&self) -> Option<BTreeMap<PlacementId, u64>> {
        let mut counts = BTreeMap::new();
        for generation in &self.old {
            for id in generation.placements.as_ref()? {
                *counts.entry(id.clone()).or_default() += u64::try_from(generation.workers.len()).unwrap_or(u64::MAX);
            }
        }
        Some(counts)
    }
}

/// The placements to which nginx sends requests with that table. A fallback is not among them, unless a user's template
/// may use it.
pub(super) fn routed(table: &RouteTable, may_be_any: bool) -> BTreeSet<PlacementId> {
    let groups = || table.groups.values();
    if may_be_any {
        return groups().flat_map(|group| group.placements()).map(|slot| slot.placement.clone()).collect();
    }
    let live = groups().flat_map(|group| &group.slots).filter(|slot| slot.role == SlotRole::Live && slot.weight > 0);
    let previews = groups().filter_map(|group| Some(&group.preview.as_ref()?.slot));
    live.chain(previews).map(|slot| slot.placement.clone()).collect()
}

//! Generations of workers: each reload leaves one behind that finishes what it has. What is in flight there nobody
//! tells, so a placement has something in flight as long as a worker lives that knew it.

use super::master::{Seen, Worker};
use gapless_core::{PlacementId, RouteTable, SlotRole};
use std::collections::{BTreeMap, BTreeSet};

/// The workers that are ending, by what they knew.
#[derive(Debug, Default)]
pub(super) struct Generations {
    old: Vec<Generation>,
}

#[derive(Debug)]
struct Generation {
    workers: BTreeSet<Worker>,
    /// The placements that they send requests to; `None` if another run of the server made them.
    knew: Option<BTreeSet<PlacementId>>,
}

impl Generations {
    /// The workers `seen` have been replaced by others; those that were not old yet knew those placements.
    pub(super) fn replaced(&mut self, seen: &[Seen], knew: Option<BTreeSet<PlacementId>>) {
        let is_old = |worker: &Worker| self.old.iter().any(|generation| generation.workers.contains(worker));
        let workers: BTreeSet<_> = seen.iter().map(|seen| seen.worker).filter(|worker| !is_old(worker)).collect();
        if !workers.is_empty() {
            self.old.push(Generation { workers, knew });
        }
    }

    /// Forgets those that are gone.
    pub(super) fn look(&mut self, seen: &[Seen]) {
        for generation in &mut self.old {
            generation.workers.retain(|worker| seen.iter().any(|seen| seen.worker == *worker));
        }
        self.old.retain(|generation| !generation.workers.is_empty());
    }

    /// Whether all their workers are among those.
    pub(super) fn all_in(&self, ending: &[Seen]) -> bool {
        let mut workers = self.old.iter().flat_map(|generation| &generation.workers);
        workers.all(|worker| ending.iter().any(|seen| seen.worker == *worker))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.old.len()
    }

    /// How many workers live that knew each of the placements; `None` while some live of which that is not known.
    pub(super) fn in_flight(&self) -> Option<BTreeMap<PlacementId, u64>> {
        let mut counts = BTreeMap::new();
        for generation in &self.old {
            for id in generation.knew.as_ref()? {
                *counts.entry(id.clone()).or_default() += u64::try_from(generation.workers.len()).unwrap_or(u64::MAX);
            }
        }
        Some(counts)
    }
}

/// The placements that nginx sends requests to by that table. A fallback is none of them, unless a template of the
/// user's own may have made it one.
pub(super) fn routed(table: &RouteTable, may_be_any: bool) -> BTreeSet<PlacementId> {
    let groups = || table.groups.values();
    if may_be_any {
        return groups().flat_map(|group| group.placements()).map(|slot| slot.placement.clone()).collect();
    }
    let live = groups().flat_map(|group| &group.slots).filter(|slot| slot.role == SlotRole::Live && slot.weight > 0);
    let previews = groups().filter_map(|group| Some(&group.preview.as_ref()?.slot));
    live.chain(previews).map(|slot| slot.placement.clone()).collect()
}

//! Which instance a request goes to: first a live slot by weight, then of its instances the less busy one of two drawn
//! at random.

use crate::placement::Instance;
use crate::router::{Group, GroupSlot};
use gapless_core::routes::SlotRole;
use std::cell::Cell;
use std::sync::Arc;

/// Random numbers for spreading load: one generator a core, no more than good enough for it (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(Cell::new(seed | 1))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is above 0.
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// An instance for a request of the group. `None` where no live slot has an instance, and no fallback stands in.
/// The flag says that it is the fallback's.
pub(crate) fn choose(group: &Group, dice: &Dice) -> Option<(Arc<Instance>, bool)> {
    let live = |slot: &&GroupSlot| slot.weight > 0 && !slot.instances.is_empty();
    let total: u64 = group.slots.iter().filter(live).map(|slot| u64::from(slot.weight)).sum();
    if total == 0 {
        // The live slot lost its instances; without a live slot the application is meant to be down.
        let has_live = group.slots.iter().any(|slot| slot.weight > 0);
        return if has_live { fallback(group, dice).map(|instance| (instance, true)) } else { None };
    }
    let mut slots = group.slots.iter().filter(live);
    let mut drawn = if group.slots.len() == 1 { 0 } else { dice.below(total) };
    let slot = slots.find(|slot| {
        let weight = u64::from(slot.weight);
        let hit = drawn < weight;
        drawn = drawn.saturating_sub(weight);
        hit
    })?;
    less_busy(&slot.instances, None, dice).map(|instance| (instance, false))
}

/// Another instance than `failed` for a request that could not be sent there: of the same slot, of another live one.
pub(crate) fn choose_other(group: &Group, failed: &Instance, dice: &Dice) -> Option<Arc<Instance>> {
    let same = |slot: &&GroupSlot| slot.placement.id == failed.placement.id && slot.weight > 0;
    let other = |slot: &&GroupSlot| slot.placement.id != failed.placement.id && slot.weight > 0;
    let slots = group.slots.iter().filter(same).chain(group.slots.iter().filter(other));
    slots.into_iter().find_map(|slot| less_busy(&slot.instances, Some(failed.serial), dice))
}

/// An instance of the slot that stands in where the live one cannot be reached.
pub(crate) fn fallback(group: &Group, dice: &Dice) -> Option<Arc<Instance>> {
    let mut slots = group.slots.iter().filter(|slot| slot.role == SlotRole::Fallback);
    slots.find_map(|slot| less_busy(&slot.instances, None, dice))
}

fn less_busy(instances: &[Arc<Instance>], except: Option<u64>, dice: &Dice) -> Option<Arc<Instance>> {
    let mut candidates = instances.iter().filter(|instance| Some(instance.serial) != except);
    let count = match except {
        None => instances.len() as u64,
        Some(_) => candidates.clone().count() as u64,
    };
    match count {
        0 => None,
        1 => candidates.next().map(Arc::clone),
        _ => {
            let first = dice.below(count);
            let second = (first + 1 + dice.below(count - 1)) % count;
            let (a, b) = (candidates.clone().nth(first as usize)?, candidates.nth(second as usize)?);
            Some(Arc::clone(if b.in_flight() < a.in_flight() { b } else { a }))
        }
    }
}

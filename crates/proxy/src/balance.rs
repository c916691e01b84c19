//! Which instance a request goes to: first a live slot by weight, then of its instances the less busy one of two drawn
//! at random.

use crate::placement::{CoreInstance, Listed};
use crate::router::{Group, GroupSlot};
use crate::split::Side;
use gapless_core::routes::SlotRole;
use std::cell::Cell;
use std::sync::Arc;

/// Draws for one core: random numbers no better than good enough for spreading load (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice {
    core: usize,
    state: Cell<u64>,
}

impl Dice {
    pub(crate) fn new(core: usize, seed: u64) -> Self {
        Dice { core, state: Cell::new(seed | 1) }
    }

    /// A number below `bound`, which is above 0.
    fn below(&self, bound: u64) -> u64 {
        let mut x = self.state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.state.set(x);
        let drawn = x.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
    }
}

/// An instance for a request of the group: of the slot that `side` says, or of one that is drawn by weight. `None` where
/// no live slot has an instance, and no fallback stands in. The flag says that it is the fallback's.
pub(crate) fn choose(group: &Group, side: Option<Side<'_>>, dice: &Dice) -> Option<(Arc<CoreInstance>, bool)> {
    if let Some(only) = &group.only {
        return Some((Arc::clone(only.on(dice.core)), false));
    }
    if let Some(Side::Slot(slot)) = side
        && slot.placement.given_up().is_none()
        && let Some(instance) = less_busy(&slot.instances, None, dice)
    {
        return Some((instance, false));
    }
    draw(group, |slot| slot.placement.given_up().is_none(), dice)
        // The live slot lost its instances or was given up; without a live slot the application is meant to be down.
        .or_else(|| fallback(group, dice).map(|instance| (instance, true)))
        .or_else(|| draw(group, |_| true, dice))
}

/// An instance of a live slot that `is_good`, by weight.
fn draw(group: &Group, is_good: impl Fn(&GroupSlot) -> bool, dice: &Dice) -> Option<(Arc<CoreInstance>, bool)> {
    let live = |slot: &&GroupSlot| slot.weight > 0 && !slot.instances.is_empty() && is_good(slot);
    let total: u64 = group.slots.iter().filter(live).map(|slot| u64::from(slot.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut drawn = dice.below(total);
    let slot = group.slots.iter().filter(live).find(|slot| {
        let weight = u64::from(slot.weight);
        let is_hit = drawn < weight;
        drawn = drawn.saturating_sub(weight);
        is_hit
    })?;
    less_busy(&slot.instances, None, dice).map(|instance| (instance, false))
}

/// An instance for a request that was chosen `before` for another one, which is in the table no more: of the same slot
/// where that is live still.
pub(crate) fn choose_again(group: &Group, before: &CoreInstance, dice: &Dice) -> Option<(Arc<CoreInstance>, bool)> {
    let same = group.slots.iter().find(|slot| slot.weight > 0 && slot.placement.id == before.placement.id);
    choose(group, same.map(Side::Slot), dice)
}

/// Another instance than `failed` for a request that could not be sent there: of the same slot, of another live one.
pub(crate) fn choose_other(group: &Group, failed: &CoreInstance, dice: &Dice) -> Option<Arc<CoreInstance>> {
    let live = || group.slots.iter().filter(|slot| slot.weight > 0);
    let is_same = |slot: &&GroupSlot| slot.placement.id == failed.placement.id;
    let mut slots = live().filter(is_same).chain(live().filter(|slot| !is_same(slot)));
    slots.find_map(|slot| less_busy(&slot.instances, Some(failed.serial), dice))
}

/// An instance of the slot that stands in where the live one cannot be reached. Without a live slot nothing does: the
/// application is meant to be down.
pub(crate) fn fallback(group: &Group, dice: &Dice) -> Option<Arc<CoreInstance>> {
    let has_live = group.slots.iter().any(|slot| slot.weight > 0);
    let mut slots = group.slots.iter().filter(|slot| has_live && slot.role == SlotRole::Fallback);
    slots.find_map(|slot| less_busy(&slot.instances, None, dice))
}

fn less_busy(instances: &[Listed], except: Option<u64>, dice: &Dice) -> Option<Arc<CoreInstance>> {
    let mut candidates = instances.iter().filter(|instance| Some(instance.serial) != except);
    let count = candidates.clone().count() as u64;
    let chosen = match count {
        0 | 1 => candidates.next()?,
        _ => {
            let first = dice.below(count);
            let second = (first + 1 + dice.below(count - 1)) % count;
            let (a, b) = (candidates.clone().nth(first as usize)?, candidates.nth(second as usize)?);
            if b.in_flight() < a.in_flight() { b } else { a }
        }
    };
    Some(Arc::clone(chosen.on(dice.core)))
}

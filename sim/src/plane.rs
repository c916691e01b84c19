//! A fake data plane: applies tables late, loses answers, goes away and comes back with what it had on disk; and the
//! requests that it carries.

use crate::dice::Dice;
use crate::world::{PlaneState, World};
use async_trait::async_trait;
use gapless_core::RouteTable;
use gapless_core::deployment::Traffic;
use gapless_core::routes::RouteChange;
use gapless_server::planes::{Applied, DataPlane, PlaneError, PlaneStatus};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct FakePlane {
    world: World,
    dice: Dice,
    index: usize,
}

impl FakePlane {
    pub(crate) fn new(world: World, dice: Dice) -> Self {
        let index = {
            let mut state = world.lock();
            state.planes.push(PlaneState::default());
            state.planes.len() - 1
        };
        FakePlane { world, dice, index }
    }

    async fn answer(&self) -> Result<Applied, PlaneError> {
        self.dice.wait_up_to(5).await;
        let is_away = self.world.lock().planes.get(self.index).is_none_or(|plane| plane.is_away);
        let is_lost = self.world.has_faults() && self.dice.once_in(40);
        if is_away || is_lost { Err(PlaneError::Away("simulated".to_owned())) } else { Ok(Applied::default()) }
    }
}

#[async_trait]
impl DataPlane for FakePlane {
    fn name(&self) -> String {
        format!("plane {}", self.index)
    }

    async fn replace(&self, table: &RouteTable) -> Result<Applied, PlaneError> {
        self.answer().await?;
        self.world.lock().apply(self.index, Arc::new(table.clone()));
        self.answer().await
    }

    async fn change(&self, change: &RouteChange) -> Result<Applied, PlaneError> {
        self.answer().await?;
        {
            let mut state = self.world.lock();
            let Some(plane) = state.planes.get(self.index) else { return Err(PlaneError::OtherBase) };
            if plane.table.version != change.base {
                return Err(PlaneError::OtherBase);
            }
            let mut table = (*plane.table).clone();
            table.version = change.version;
            for (key, group) in &change.groups {
                match group {
                    Some(group) => table.groups.insert(key.clone(), group.clone()),
                    None => table.groups.remove(key),
                };
            }
            state.apply(self.index, Arc::new(table));
        }
        self.answer().await
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        self.answer().await?;
        let state = self.world.lock();
        let Some(plane) = state.planes.get(self.index) else { return Err(PlaneError::Away("none".to_owned())) };
        let traffic = |requests: &u64| Traffic { requests: *requests, ..Traffic::default() };
        Ok(PlaneStatus {
            version: plane.table.version,
            in_flight: plane.in_flight.iter().filter(|(_, n)| **n > 0).map(|(id, n)| (id.clone(), *n)).collect(),
            traffic: plane.requests.iter().map(|(id, requests)| (id.clone(), traffic(requests))).collect(),
            ..PlaneStatus::default()
        })
    }

    async fn notice(&self, _: Duration) {
        tokio::time::sleep(Duration::from_millis(100 + self.dice.below(400))).await;
    }
}

/// Requests, some short, some longer than a drain deadline.
pub(crate) async fn requests(world: World, dice: Dice, index: usize) {
    loop {
        dice.wait_up_to(300).await;
        let placement = world.lock().request(index, &dice);
        if let Some(placement) = placement {
            let lasts = if dice.once_in(40) { dice.below(10_000) } else { dice.below(100) };
            let world = world.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                world.lock().finish(index, &placement);
            });
        }
    }
}

/// Now and then a data plane goes away for a while.
pub(crate) async fn outages(world: World, dice: Dice, index: usize) {
    loop {
        dice.wait_up_to(30_000).await;
        if !world.has_faults() {
            continue;
        }
        world.tell(format!("data plane {index} goes away"));
        set_away(&world, index, true);
        dice.wait_up_to(15_000).await;
        set_away(&world, index, false);
        world.tell(format!("data plane {index} is back"));
    }
}

fn set_away(world: &World, index: usize, is_away: bool) {
    if let Some(plane) = world.lock().planes.get_mut(index) {
        plane.is_away = is_away;
    }
}

//! A fake data plane: applies tables late, loses answers, goes away and comes back with its table from disk. Also
//! simulates its requests.

use crate::pause::Pause;
use crate::rng::Rng;
use crate::timeline::Source;
use crate::world::{PlaneState, World};
use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::deployment::Traffic;
use gapless_core::routes::RouteChange;
use gapless_plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus};
use std::sync::Arc;
use std::time::Duration;

/// Adds a data plane to the world.
pub(crate) fn add(world: &World) {
    world.lock().planes.push(PlaneState::default());
}

/// A server's connection to a data plane.
pub(crate) struct FakePlane {
    pub(crate) world: World,
    pub(crate) rng: Rng,
    pub(crate) index: usize,
    pub(crate) pause: Pause,
}

impl FakePlane {
    /// Delivers a call, sometimes late.
    async fn arrive(&self) -> Result<(), PlaneError> {
        self.pause.wait().await;
        if self.world.has_faults() && self.rng.once_in(50) {
            self.rng.wait_up_to(2_000).await;
        }
        self.answer().await.map(drop)
    }

    /// Applies a table. As in the real data planes, an older table is rejected: a paused server may send it.
    fn apply(&self, table: RouteTable) -> Result<(), PlaneError> {
        let mut state = self.world.lock();
        let present = state.planes.get(self.index).map_or(0, |plane| plane.table.version);
        if table.version < present {
            return Err(PlaneError::Away(format!(
                "version {} is older than the present one, {present}",
                table.version
            )));
        }
        state.apply(self.index, Arc::new(table));
        Ok(())
    }

    async fn answer(&self) -> Result<ApplyReport, PlaneError> {
        self.rng.wait_up_to(5).await;
        let is_away = self.world.lock().planes.get(self.index).is_none_or(|plane| plane.is_away);
        let is_lost = self.world.has_faults() && self.rng.once_in(40);
        if is_away || is_lost { Err(PlaneError::Away("simulated".to_owned())) } else { Ok(ApplyReport::default()) }
    }
}

#[async_trait]
impl DataPlane for FakePlane {
    fn name(&self) -> String {
        format!("plane {}", self.index)
    }

    async fn info(&self) -> PlaneInfo {
        PlaneInfo { name: self.name(), pid: None, listen: Vec::new(), is_up: self.answer().await.is_ok() }
    }

    async fn check(&self) -> Result<String, String> {
        self.answer().await.map(|_| "simulated".to_owned()).map_err(|error| error.to_string())
    }

    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        self.arrive().await?;
        self.apply(table.clone())?;
        self.answer().await
    }

    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
        self.arrive().await?;
        let present = self.world.lock().planes.get(self.index).map(|plane| plane.table.clone());
        let Some(present) = present.filter(|table| table.version == change.base) else {
            return Err(PlaneError::OtherBase);
        };
        let mut table = (*present).clone();
        table.change(change);
        self.apply(table)?;
        self.answer().await
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        self.pause.wait().await;
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

    async fn wait_for_change(&self, _: Duration) {
        tokio::time::sleep(Duration::from_millis(100 + self.rng.below(800))).await;
    }
}

/// Sends requests: some are short, some take longer than a drain deadline.
pub(crate) async fn requests(world: World, rng: Rng, index: usize) {
    loop {
        rng.wait_up_to(300).await;
        let sent = {
            let mut state = world.lock();
            let epoch = state.planes.get(index).map_or(0, |plane| plane.epoch);
            state.request(index, &rng).map(|placement| (placement, epoch))
        };
        if let Some((placement, epoch)) = sent {
            let lasts = if rng.once_in(40) { rng.below(10_000) } else { rng.below(100) };
            let world = world.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                world.lock().finish(index, epoch, &placement);
            });
        }
    }
}

/// Makes a data plane unreachable at random times, or restarts it.
pub(crate) async fn outages(world: World, rng: Rng, index: usize) {
    loop {
        rng.wait_up_to(30_000).await;
        if !world.has_faults() {
            continue;
        }
        let is_restarted = rng.once_in(3);
        world.log(Source::Plane(index), || "is unreachable".to_owned());
        set_away(&world, index, true);
        rng.wait_up_to(if is_restarted { 500 } else { 15_000 }).await;
        if is_restarted {
            world.lock().restart_plane(index);
        }
        set_away(&world, index, false);
        let how = if is_restarted { "has restarted" } else { "is reachable again" };
        world.log(Source::Plane(index), || how.to_owned());
    }
}

fn set_away(world: &World, index: usize, is_away: bool) {
    if let Some(plane) = world.lock().planes.get_mut(index) {
        plane.is_away = is_away;
    }
}

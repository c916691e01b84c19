//! The final checks, after the end of all faults: every deployment has ended, nothing is left over, the next deployment
//! succeeds, and after a reboot only the live slot would run.

use crate::host::Server;
use crate::people::{self, APPS};
use crate::rng::Rng;
use crate::world::{Behaviour, World};
use gapless_core::application::Desired;
use gapless_core::{AppKey, RouteGroup};
use std::time::Duration;

/// The time for the work after the end of a deployment: a slot is parked, and its restart policy removed.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

/// The violations after settling: records, routes and instances must agree.
pub(crate) async fn unsettled(server: &Server, world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let apps = match server.records.applications().await {
        Ok((_, apps)) => apps,
        Err(error) => return vec![format!("the records cannot be read: {error}")],
    };
    for app in &apps {
        let key = &app.key;
        if app.active.is_some() || !app.queue.is_empty() {
            violations.push(format!("{key}: a deployment never ends: {:?}, {:?}", app.active, app.queue));
        }
        if !app.leaving.is_empty() {
            let leaving: Vec<_> = app.leaving.iter().map(|placement| &placement.id).collect();
            violations.push(format!("{key}: never stopped: {leaving:?}"));
        }
        if app.desired == Desired::Removed {
            violations.push(format!("{key} is never removed"));
        }
        let wanted = RouteGroup::derive(app);
        for (index, plane) in world.lock().planes.iter().enumerate() {
            if plane.table.groups.get(key).map(AsRef::as_ref) != wanted.as_ref() {
                violations.push(format!("{key}: data plane {index} has other routes than the record"));
            }
        }
        let live = app.live_placement().filter(|_| app.desired == Desired::Running);
        for name in live.into_iter().flat_map(|live| live.instances()) {
            let state = world.lock();
            let is_doomed = state.instances.get(&name).is_some_and(|i| i.behaviour != Behaviour::Good);
            if !is_doomed && !state.instances.get(&name).is_some_and(|instance| instance.is_running) {
                violations.push(format!("{key}: the live instance {name} does not run"));
            }
        }
    }
    let state = world.lock();
    for name in state.instances.keys() {
        let app = apps.iter().find(|app| app.key == name.placement.key);
        let is_wanted = app.is_some_and(|app| {
            let is_stopped = app.desired == Desired::Stopped;
            app.placement_of(name).is_some_and(|placement| !is_stopped || app.live != Some(placement.id.slot))
        });
        if !is_wanted {
            violations.push(format!("{name} is left over"));
        }
    }
    violations
}

/// Checks that the next deployment of each application succeeds without help.
pub(crate) async fn deploy_once_more(server: &Server, world: &World, rng: &Rng) {
    let one = async |app: &str| {
        let Ok(key) = app.parse::<AppKey>() else { return };
        let by = people::requester(rng, server.clock.now());
        let deployed = server.operations.deploy(&key, people::good(&key), Vec::new(), true, &by).await;
        let shown = match deployed {
            Ok(deployment) => ended(server, &key, deployment.number).await,
            Err(error) => error.to_string(),
        };
        if shown != "succeeded" {
            world.lock().violate(format!("{key}: the next deployment: {shown}"));
        }
        tokio::time::sleep(SETTLED_AFTER).await;
        judge_reboot(server, world, &key).await;
    };
    futures_util::future::join_all(APPS.map(one)).await;
}

/// The outcome of a deployment, or its present phase after a minute.
async fn ended(server: &Server, key: &AppKey, number: u64) -> String {
    let give_up_at = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let phase = match server.operations.deployment(key, number).await {
            Ok(found) => found.record.phase,
            Err(error) => return error.to_string(),
        };
        if phase.is_end() || tokio::time::Instant::now() >= give_up_at {
            return phase.name().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Checks that after a reboot of the host only the live slot would run.
async fn judge_reboot(server: &Server, world: &World, key: &AppKey) {
    let Ok(app) = server.operations.application(key).await else { return };
    let state = world.lock();
    let theirs = state.instances.iter().filter(|(name, instance)| name.placement.key == *key && instance.is_running);
    let wrong = theirs.filter(|(name, i)| i.comes_back != (app.record.live == Some(name.placement.slot)));
    let wrong: Vec<_> = wrong.map(|(name, i)| format!("{name} comes back at boot: {}", i.comes_back)).collect();
    drop(state);
    wrong.into_iter().for_each(|violation| world.lock().violate(violation));
}

/// The number of deployments of all applications.
pub(crate) async fn count_deployments(server: &Server) -> u64 {
    let mut count = 0;
    for app in APPS {
        if let Ok(key) = app.parse::<AppKey>() {
            let found = server.operations.application(&key).await;
            count += found.map(|app| app.record.last_deployment).unwrap_or(0);
        }
    }
    count
}

//! The actions of people, at random times: deploy good and bad releases, abort, roll back, stop, start, remove.

use crate::rng::Rng;
use crate::timeline::Source;
use crate::world::World;
use gapless_core::command::{CommandError, Requester, Steer};
use gapless_core::gate::{Gate, GateCommand, GateKind};
use gapless_core::hook::{Hook, HookPoint, HookRun, Migration};
use gapless_core::spec::Route;
use gapless_core::spec::{ApprovalRule, HealthCheck, HoldSettings, Process, Service, Timing, Workload};
use gapless_core::strategy::{Canary, CanaryStep, Choose, Strategy};
use gapless_core::{AppKey, Millis, ServiceName, Spec, Timestamp};
use gapless_server::operations::{OperationError, Operations};

/// The applications of a simulation.
pub(crate) const APPS: [&str; 2] = ["shop/production", "blog/production"];

/// The drain timeout of all releases.
pub(crate) const DRAIN: Millis = Millis(5_000);

/// The names of the outcomes of deployments.
const ENDS: [&str; 5] = ["succeeded", "unchanged", "failed", "cancelled", "reverted"];

/// Performs a random action of a person.
pub(crate) async fn act(operations: &Operations, world: &World, rng: &Rng, now: Timestamp) {
    let by = requester(rng, now);
    let app = APPS[usize::try_from(rng.below(APPS.len() as u64)).unwrap_or(0)];
    let Ok(key) = app.parse::<AppKey>() else { return };
    let (what, result) = match rng.below(12) {
        0..=5 => {
            let spec = spec(&key, rng);
            let service = |(name, service): (&ServiceName, &Service)| {
                format!("{} × {name} {:?}", service.replicas, service.variables.get("BEHAVIOUR"))
            };
            let shown = format!("deploys {}", spec.services.iter().map(service).collect::<Vec<_>>().join(" and "));
            (shown, operations.deploy(&key, spec, Vec::new(), false, &by).await.map(drop))
        }
        6 | 7 => ("rolls back".to_owned(), operations.rollback(&key, None, rng.once_in(2), &by).await.map(drop)),
        8 => ("aborts".to_owned(), operations.abort(&key, &by).await.map(drop)),
        9 if rng.once_in(2) => {
            world.lock().expect_emptiness(&key);
            ("stops".to_owned(), operations.stop(&key).await.map(drop))
        }
        9 => {
            let active = operations.application(&key).await.ok().and_then(|app| app.record.active);
            let number = active.map_or(1, |claim| claim.deployment);
            if rng.once_in(4) {
                ("refuses".to_owned(), operations.reject(&key, number, "no", &by).await.map(drop))
            } else {
                ("approves".to_owned(), operations.approve(&key, number, &by).await.map(drop))
            }
        }
        10 if rng.once_in(6) => {
            let page = None;
            ("turns on maintenance mode of".to_owned(), operations.begin_maintenance(&key, page, &by).await.map(drop))
        }
        10 if rng.once_in(6) => {
            ("turns off maintenance mode of".to_owned(), operations.end_maintenance(&key).await.map(drop))
        }
        10 if rng.once_in(2) => {
            let steer = steer(rng);
            (format!("steers {steer:?}"), operations.steer(&key, steer, &by).await.map(drop))
        }
        10 => ("starts".to_owned(), operations.start(&key).await.map(drop)),
        _ if rng.once_in(4) => ("removes".to_owned(), operations.remove(&key).await.map(drop)),
        _ => return,
    };
    if let Err(OperationError::Command(CommandError::Busy { phase, .. })) = &result
        && ENDS.contains(phase)
    {
        world.lock().violate(format!("{app}: a person must wait for a deployment that has already ended ({phase})"));
    }
    world.log(Source::Person, || {
        let error = result.err().map(|error| format!(": {error}")).unwrap_or_default();
        format!("{what} {app}{error}")
    });
}

pub(crate) fn requester(rng: &Rng, now: Timestamp) -> Requester {
    let secret = format!("{:016x}", rng.below(u64::MAX));
    Requester { name: "someone".to_owned(), at: now, secret }
}

/// A good release.
pub(crate) fn good(key: &AppKey) -> Spec {
    let command = vec!["/bin/true".to_owned()];
    let workload = Workload::Process(Process { command, directory: "/".to_owned(), user: None });
    let health = HealthCheck { deadline: Millis(8_000), ..HealthCheck::default() };
    let service = ServiceName::default();
    let route = |host| Route { host, path: Default::default(), strip: false, service: service.clone() };
    Spec {
        services: [(service.clone(), Service { health, ..Service::new(workload.clone(), 9000) })].into(),
        routes: host(key).into_iter().map(route).collect(),
        timing: Timing {
            prepare_timeout: Millis(10_000),
            start_timeout: Millis(5_000),
            shift_timeout: Millis(3_000),
            observe: Millis(4_000),
            drain_timeout: DRAIN,
            stop_timeout: Millis(1_000),
            keep_warm: Millis(20_000),
            ..Timing::default()
        },
        ..Spec::new(key.clone(), workload, 9000)
    }
}

/// A random gate, which passes or fails by its name.
fn gate(at: u64, rng: &Rng) -> Gate {
    let kind = GateKind::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
    let name = if rng.once_in(8) { format!("bad-{at}") } else { format!("good-{at}") };
    let retries = u16::try_from(rng.below(3)).unwrap_or(0);
    Gate { name, kind, timeout: Millis::from_secs(10), retries, parallel: rng.once_in(2) }
}

/// A random hook or migration at a random point.
fn hook(at: u64, rng: &Rng) -> Hook {
    let points = [
        HookPoint::BeforeStart,
        HookPoint::BeforeCutover,
        HookPoint::Held,
        HookPoint::AfterCutover,
        HookPoint::AfterSuccess,
        HookPoint::OnFailure,
    ];
    let point = points[usize::try_from(rng.below(points.len() as u64)).unwrap_or(0)];
    let run = HookRun::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
    let name = if rng.once_in(10) { format!("bad-hook-{at}") } else { format!("good-hook-{at}") };
    let back = rng.once_in(2).then(|| run.clone());
    let migration = rng.once_in(3).then_some(Migration { back });
    Hook { name, at: point, run, timeout: Millis(5_000), migration }
}

fn host(key: &AppKey) -> Option<gapless_core::HostPattern> {
    format!("{}.example.com", key.app).parse().ok()
}

/// A random canary, some steps of which wait for a person.
fn canary(rng: &Rng) -> Canary {
    let step = |at: u64| CanaryStep {
        weight: u8::try_from(10 + 20 * at).unwrap_or(99),
        pause: (!rng.once_in(5)).then(|| Millis(1_000 + rng.below(5_000))),
    };
    let steps = (0..1 + rng.below(3)).map(step).collect();
    Canary { steps, choose: Choose::Random, expires: Millis(15_000) }
}

/// A random control of a canary.
fn steer(rng: &Rng) -> Steer {
    match rng.below(5) {
        0 => Steer::Pause,
        1 => Steer::Resume,
        2 => Steer::Weight(u8::try_from(rng.below(100)).unwrap_or(0)),
        _ => Steer::Next,
    }
}

fn spec(key: &AppKey, rng: &Rng) -> Spec {
    let mut spec = good(key);
    let web = spec.services.get(&ServiceName::default()).cloned();
    if let (Some(web), true) = (web, rng.once_in(3)) {
        let health = HealthCheck { path: None, settle: Millis(rng.below(2_000)), ..web.health.clone() };
        let worker = Service { health, ..web };
        spec.services.extend("worker".parse::<ServiceName>().map(|name| (name, worker)));
    }
    for service in spec.services.values_mut() {
        service.replicas = 1 + u16::try_from(rng.below(3)).unwrap_or(0);
        service.variables.extend(behaviour(rng).map(|behaviour| ("BEHAVIOUR".to_owned(), behaviour)));
    }
    spec.gates = (0..rng.below(4)).map(|at| gate(at, rng)).collect();
    if rng.once_in(5) {
        spec.approval = Some(ApprovalRule { people: 1, by_others: false, expires: Millis(1_000 + rng.below(20_000)) });
    }
    spec.hooks = (0..rng.below(3)).map(|at| hook(at, rng)).collect();
    spec.hold = HoldSettings { timeout: Millis(8_000), drain: Millis(2_000), ..HoldSettings::default() };
    if rng.once_in(3) && spec.hooks.iter().all(|hook| hook.at != HookPoint::Held) {
        spec.strategy = Strategy::Canary(canary(rng));
    }
    spec
}

/// The random behaviour of a service's instances.
fn behaviour(rng: &Rng) -> Option<String> {
    match rng.below(8) {
        0 => Some("never-healthy".to_owned()),
        1 => Some("exits".to_owned()),
        2 => Some((200 + rng.below(6_000)).to_string()),
        _ => None,
    }
}

//! What people do, at any time: deploy good and bad releases, abort, roll back, stop, start, remove.

use crate::dice::Dice;
use crate::story::Who;
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

/// How deployments end.
const ENDS: [&str; 5] = ["succeeded", "unchanged", "failed", "cancelled", "reverted"];

/// One thing that a person does.
pub(crate) async fn act(operations: &Operations, world: &World, dice: &Dice, now: Timestamp) {
    let by = someone(dice, now);
    let app = APPS[usize::try_from(dice.below(APPS.len() as u64)).unwrap_or(0)];
    let Ok(key) = app.parse::<AppKey>() else { return };
    let (what, result) = match dice.below(12) {
        0..=5 => {
            let spec = spec(&key, dice);
            let service = |(name, service): (&ServiceName, &Service)| {
                format!("{} × {name} {:?}", service.replicas, service.variables.get("BEHAVIOUR"))
            };
            let shown = format!("deploys {}", spec.services.iter().map(service).collect::<Vec<_>>().join(" and "));
            (shown, operations.deploy(&key, spec, Vec::new(), false, &by).await.map(drop))
        }
        6 | 7 => ("rolls back".to_owned(), operations.rollback(&key, None, dice.once_in(2), &by).await.map(drop)),
        8 => ("aborts".to_owned(), operations.abort(&key, &by).await.map(drop)),
        9 if dice.once_in(2) => {
            world.lock().expect_emptiness(&key);
            ("stops".to_owned(), operations.stop(&key).await.map(drop))
        }
        9 => {
            let active = operations.application(&key).await.ok().and_then(|app| app.record.active);
            let number = active.map_or(1, |claim| claim.deployment);
            if dice.once_in(4) {
                ("refuses".to_owned(), operations.reject(&key, number, "no", &by).await.map(drop))
            } else {
                ("approves".to_owned(), operations.approve(&key, number, &by).await.map(drop))
            }
        }
        10 if dice.once_in(6) => {
            let page = None;
            ("begins maintenance of".to_owned(), operations.begin_maintenance(&key, page, &by).await.map(drop))
        }
        10 if dice.once_in(6) => ("ends maintenance of".to_owned(), operations.end_maintenance(&key).await.map(drop)),
        10 if dice.once_in(2) => {
            let steer = steer(dice);
            (format!("steers {steer:?}"), operations.steer(&key, steer, &by).await.map(drop))
        }
        10 => ("starts".to_owned(), operations.start(&key).await.map(drop)),
        _ if dice.once_in(4) => ("removes".to_owned(), operations.remove(&key).await.map(drop)),
        _ => return,
    };
    if let Err(OperationError::Command(CommandError::Busy { phase, .. })) = &result
        && ENDS.contains(phase)
    {
        world.lock().violate(format!("{app}: someone has to wait for a deployment that is over: it {phase}"));
    }
    world.tell(Who::Person, || {
        let came_of_it = result.err().map(|error| format!(": {error}")).unwrap_or_default();
        format!("{what} {app}{came_of_it}")
    });
}

pub(crate) fn someone(dice: &Dice, now: Timestamp) -> Requester {
    let secret = format!("{:016x}", dice.below(u64::MAX));
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

/// A gate; what comes of it, the dice say.
fn gate(at: u64, dice: &Dice) -> Gate {
    let kind = GateKind::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
    let name = if dice.once_in(8) { format!("bad-{at}") } else { format!("good-{at}") };
    let retries = u16::try_from(dice.below(3)).unwrap_or(0);
    Gate { name, kind, timeout: Millis::from_secs(10), retries, parallel: dice.once_in(2) }
}

/// A hook, or a migration, at any point.
fn hook(at: u64, dice: &Dice) -> Hook {
    let points = [
        HookPoint::BeforeStart,
        HookPoint::BeforeCutover,
        HookPoint::Held,
        HookPoint::AfterCutover,
        HookPoint::AfterSuccess,
        HookPoint::OnFailure,
    ];
    let point = points[usize::try_from(dice.below(points.len() as u64)).unwrap_or(0)];
    let run = HookRun::Command(GateCommand { command: vec!["/bin/true".to_owned()], user: None });
    let name = if dice.once_in(10) { format!("bad-hook-{at}") } else { format!("good-hook-{at}") };
    let back = dice.once_in(2).then(|| run.clone());
    let migration = dice.once_in(3).then_some(Migration { back });
    Hook { name, at: point, run, timeout: Millis(5_000), migration }
}

fn host(key: &AppKey) -> Option<gapless_core::HostPattern> {
    format!("{}.example.com", key.app).parse().ok()
}

/// A canary of some steps, of which some wait for a person.
fn canary(dice: &Dice) -> Canary {
    let step = |at: u64| CanaryStep {
        weight: u8::try_from(10 + 20 * at).unwrap_or(99),
        pause: (!dice.once_in(5)).then(|| Millis(1_000 + dice.below(5_000))),
    };
    let steps = (0..1 + dice.below(3)).map(step).collect();
    Canary { steps, choose: Choose::Random, expires: Millis(15_000) }
}

/// What somebody may want of a canary.
fn steer(dice: &Dice) -> Steer {
    match dice.below(5) {
        0 => Steer::Pause,
        1 => Steer::Resume,
        2 => Steer::Weight(u8::try_from(dice.below(100)).unwrap_or(0)),
        _ => Steer::Next,
    }
}

fn spec(key: &AppKey, dice: &Dice) -> Spec {
    let mut spec = good(key);
    let web = spec.services.get(&ServiceName::default()).cloned();
    if let (Some(web), true) = (web, dice.once_in(3)) {
        let health = HealthCheck { path: None, settle: Millis(dice.below(2_000)), ..web.health.clone() };
        let worker = Service { health, ..web };
        spec.services.extend("worker".parse::<ServiceName>().map(|name| (name, worker)));
    }
    for service in spec.services.values_mut() {
        service.replicas = 1 + u16::try_from(dice.below(3)).unwrap_or(0);
        service.variables.extend(behaviour(dice).map(|behaviour| ("BEHAVIOUR".to_owned(), behaviour)));
    }
    spec.gates = (0..dice.below(4)).map(|at| gate(at, dice)).collect();
    if dice.once_in(5) {
        spec.approval = Some(ApprovalRule { people: 1, by_others: false, expires: Millis(1_000 + dice.below(20_000)) });
    }
    spec.hooks = (0..dice.below(3)).map(|at| hook(at, dice)).collect();
    spec.hold = HoldSettings { timeout: Millis(8_000), drain: Millis(2_000), ..HoldSettings::default() };
    if dice.once_in(3) && spec.hooks.iter().all(|hook| hook.at != HookPoint::Held) {
        spec.strategy = Strategy::Canary(canary(dice));
    }
    spec
}

/// How the instances of a service behave.
fn behaviour(dice: &Dice) -> Option<String> {
    match dice.below(8) {
        0 => Some("never-healthy".to_owned()),
        1 => Some("exits".to_owned()),
        2 => Some((200 + dice.below(6_000)).to_string()),
        _ => None,
    }
}

//! What people do, at any time: deploy good and bad releases, abort, roll back, stop, start, remove.

use crate::dice::Dice;
use crate::world::World;
use gapless_core::command::Requester;
use gapless_core::gate::{Gate, GateCommand, GateKind};
use gapless_core::routes::Route;
use gapless_core::spec::{ApprovalRule, HealthCheck, Process, Timing, Workload};
use gapless_core::{AppKey, Millis, Spec};
use gapless_server::operations::Operations;

/// The applications of a simulation.
pub(crate) const APPS: [&str; 2] = ["shop/production", "blog/production"];

/// The drain timeout of all releases.
pub(crate) const DRAIN: Millis = Millis(5_000);

/// One thing that a person does.
pub(crate) async fn act(operations: &Operations, world: &World, dice: &Dice) {
    let by = someone(world, dice);
    let app = APPS[usize::try_from(dice.below(APPS.len() as u64)).unwrap_or(0)];
    let Ok(key) = app.parse::<AppKey>() else { return };
    let (what, result) = match dice.below(12) {
        0..=5 => {
            let spec = spec(&key, dice);
            let shown = format!("deploys {:?} × {}", spec.variables.get("BEHAVIOUR"), spec.replicas);
            (shown, operations.deploy(&key, spec, false, &by).await.map(drop))
        }
        6 | 7 => ("rolls back".to_owned(), operations.rollback(&key, None, &by).await.map(drop)),
        8 => ("aborts".to_owned(), operations.abort(&key, &by).await.map(drop)),
        9 if dice.once_in(2) => ("stops".to_owned(), operations.stop(&key).await.map(drop)),
        9 => {
            let active = operations.application(&key).await.ok().and_then(|app| app.record.active);
            let number = active.map_or(1, |claim| claim.deployment);
            if dice.once_in(4) {
                ("refuses".to_owned(), operations.reject(&key, number, "no", &by).await.map(drop))
            } else {
                ("approves".to_owned(), operations.approve(&key, number, &by).await.map(drop))
            }
        }
        10 => ("starts".to_owned(), operations.start(&key).await.map(drop)),
        _ if dice.once_in(4) => ("removes".to_owned(), operations.remove(&key).await.map(drop)),
        _ => return,
    };
    let came_of_it = result.err().map(|error| format!(": {error}")).unwrap_or_default();
    world.tell(format!("someone {what} {app}{came_of_it}"));
}

pub(crate) fn someone(world: &World, dice: &Dice) -> Requester {
    let secret = format!("{:016x}", dice.below(u64::MAX));
    Requester { name: "someone".to_owned(), at: world.now(), secret }
}

/// A good release.
pub(crate) fn good(key: &AppKey) -> Spec {
    let command = vec!["/bin/true".to_owned()];
    let workload = Workload::Process(Process { command, directory: "/".to_owned(), user: None });
    Spec {
        health: HealthCheck { deadline: Millis(8_000), ..HealthCheck::default() },
        routes: host(key).into_iter().map(|host| Route { host, path: Default::default(), strip: false }).collect(),
        timing: Timing {
            prepare_timeout: Millis(10_000),
            start_timeout: Millis(5_000),
            shift_timeout: Millis(3_000),
            observe: Millis(4_000),
            drain_timeout: DRAIN,
            stop_timeout: Millis(1_000),
            keep_warm: Millis(20_000),
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

fn host(key: &AppKey) -> Option<gapless_core::HostPattern> {
    format!("{}.example.com", key.app).parse().ok()
}

fn spec(key: &AppKey, dice: &Dice) -> Spec {
    let mut spec = good(key);
    spec.replicas = 1 + u16::try_from(dice.below(3)).unwrap_or(0);
    let behaviour = match dice.below(8) {
        0 => Some("never-healthy".to_owned()),
        1 => Some("exits".to_owned()),
        2 => Some((200 + dice.below(6_000)).to_string()),
        _ => None,
    };
    spec.gates = (0..dice.below(4)).map(|at| gate(at, dice)).collect();
    if dice.once_in(5) {
        spec.approval = Some(ApprovalRule { people: 1, by_others: false, expires: Millis(1_000 + dice.below(20_000)) });
    }
    spec.variables.extend(behaviour.map(|behaviour| ("BEHAVIOUR".to_owned(), behaviour)));
    spec
}

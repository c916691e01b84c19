//! Rollbacks by each path, timed at the command line.

use super::view;
use bollard::Docker;
use gapless_api::SlotState;
use gapless_core::deployment::RollbackPath;
use gapless_harness::deps::docker::engine_floor;
use gapless_harness::{App, Gapless, Host, Outcome, Runtime, wait_for};
use serde_json::json;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(30);

/// Times rollbacks to a running, a parked and a stopped slot.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let app = App::new("shop", Runtime::Docker);
    let deploy = |keep_warm: &str, park: bool| {
        let deploy = format!("observe = \"500ms\"\nkeep_warm = \"{keep_warm}\"\npark = {park}\n");
        let folder = App { deploy, ..app.clone() }.write(host.folder());
        let gapless = host.gapless().within(&folder);
        gapless.ok(["deploy", "--force"]);
        gapless
    };
    let tokio = tokio::runtime::Runtime::new().expect("tokio can be set up");
    let docker = Docker::connect_with_unix_defaults().expect("Docker answers");
    deploy("10m", false);
    let (mut running, mut parked, mut stopped, mut floors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let gapless = deploy("10m", false);
        running.push(timed(&gapless, RollbackPath::Running));

        let gapless = deploy("10m", true);
        wait_for("the old slot is parked", DEADLINE, || {
            view(&gapless).slots.iter().any(|slot| slot.state == SlotState::Parked).then_some(())
        });
        parked.push(timed(&gapless, RollbackPath::Parked));

        let gapless = deploy("0s", true);
        wait_for("the old slot is stopped", DEADLINE, || (view(&gapless).slots.len() == 1).then_some(()));
        let data = host.folder().join("shop/data");
        floors.push(tokio.block_on(engine_floor(&docker, &format!("gapless-scenario-{round}"), &data)));
        stopped.push(timed(&gapless, RollbackPath::Started));
    }
    let ratio = median(stopped.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect());
    let figures = json!({
        "running_ms": round(median(running)),
        "parked_ms": round(median(parked)),
        "stopped_ms": round(median(stopped)),
        "engine_ms": round(median(floors)),
        "stopped_to_engine": round(ratio),
        "rounds": ROUNDS,
    });
    Outcome { figures, violations: Vec::new() }
}

fn timed(gapless: &Gapless, way: RollbackPath) -> f64 {
    let began = Instant::now();
    gapless.ok(["rollback"]);
    let took = began.elapsed().as_secs_f64() * 1000.0;
    wait_for("the rollback ends", DEADLINE, || gapless.latest().phase.is_end().then_some(()));
    assert_eq!(gapless.latest().rollback_path, Some(way));
    println!("{way:?}: {took:.1} ms");
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

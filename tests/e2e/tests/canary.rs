//! A release that gets its requests in steps, is compared with the old release, and is reverted automatically; parking,
//! and the rollback paths.

use gapless_api::{ApplicationView, SlotState};
use gapless_core::deployment::{Cause, Outcome, Reason, RollbackPath};
use gapless_core::{Deployment, Phase};
use gapless_harness::{App, CommandResult, Gapless, Host, Load, Runtime, get, wait_for};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

fn said(ran: &CommandResult) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// Deploys release 1, and prepares `next` with these tables.
fn first_release(host: &Host, runtime: Runtime) -> (App, Gapless) {
    let app = App::new("shop", runtime);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    (app, gapless)
}

fn reverted(deployment: &Deployment) -> &Reason {
    match &deployment.phase {
        Phase::Ended(Outcome::Reverted(reason)) => reason,
        phase => panic!("the deployment is {phase:?}"),
    }
}

#[test]
fn canary_gets_its_share_step_by_step_without_lost_requests() {
    let host = Host::start();
    let (app, gapless) = first_release(&host, Runtime::Docker);
    let tables = "[strategy]\nby = \"sticky\"\nsteps = [{ weight = \"20%\", pause = \"2s\" }, { weight = 60, pause = \"2s\" }]\n";
    App { tables: tables.to_owned(), ..app }.write(host.folder());
    let load = Load::idempotent(host.address(), 300);
    let ran = gapless.ok(["deploy"]);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
    for words in
        ["20 % of the requests go to release 2", "60 % of the requests go to release 2", "canary", "release 2 is live"]
    {
        assert!(ran.stdout.contains(words), "{words:?} is missing: {}", ran.stdout);
    }
    let deployment = gapless.latest();
    let compared = deployment.receipt.canary.as_ref().expect("there was a canary");
    assert!(compared.new.requests > 100 && compared.old.requests > 100 && compared.breach.is_none(), "{compared:?}");
    assert!(compared.old.p50_us > 0 && compared.new.p99_us >= compared.new.p50_us, "{compared:?}");
    let shown = gapless.ok(["show", "2"]).stdout;
    assert!(shown.contains("no problem found") && shown.contains("in flight at the old release"), "{shown}");
}

#[test]
fn canary_can_be_paused_weighted_and_resumed() {
    let host = Host::start();
    let (app, gapless) = first_release(&host, Runtime::Process);
    let tables = "[strategy]\nsteps = [{ weight = \"10%\" }, { weight = \"50%\" }]\n";
    App { tables: tables.to_owned(), ..app }.write(host.folder());
    assert!(said(&gapless.run(["canary", "pause"])).contains("no deployment of shop/production is under way"));
    gapless.ok(["deploy", "--detach"]);
    let weight = |expected: u8| {
        wait_for("the canary has its weight", DEADLINE, || {
            let active = view(&gapless).active?;
            (active.phase == Phase::Canary && active.canary?.weight == expected).then_some(())
        });
    };
    weight(10);
    let canary = view(&gapless).slots.into_iter().find(|slot| slot.state == SlotState::Canary);
    assert_eq!(canary.map(|slot| slot.release), Some(2));
    assert!(gapless.ok(["canary", "pause"]).stdout.contains("stays at 10 %"));
    let twice = gapless.run(["canary", "pause"]);
    assert!(twice.code == 1 && said(&twice).contains("already"), "{twice:?}");
    assert_eq!(gapless.run(["canary", "weight", "101"]).code, 2);
    gapless.ok(["canary", "weight", "30"]);
    weight(30);
    gapless.ok(["promote"]);
    weight(50);
    gapless.ok(["canary", "skip"]);
    wait_for("the release is live", DEADLINE, || (gapless.latest().phase.name() == "succeeded").then_some(()));
    let late = gapless.run(["promote"]);
    assert!(late.code == 1 && said(&late).contains("no deployment of"), "{late:?}");
}

#[test]
fn failing_canary_is_reverted_with_numbers_in_reason() {
    let host = Host::start();
    let (app, gapless) = first_release(&host, Runtime::Process);
    let tables = "[strategy]\nsteps = [{ weight = \"20%\", pause = \"5m\" }]\n";
    App { tables: tables.to_owned(), ..app.misbehaving("errors-share=30") }.write(host.folder());
    let load = Load::idempotent(host.address(), 300);
    let ran = gapless.run(["deploy"]);
    let report = load.stop();
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(said(&ran).contains("requests failed") && said(&ran).contains("on the old release, 0 of"), "{ran:?}");
    let deployment = gapless.latest();
    assert_eq!(reverted(&deployment).cause, Cause::Judged);
    let seen = deployment.receipt.canary.unwrap();
    assert!(seen.new.errors > 5 && seen.old.errors == 0, "{seen:?}");
    // 6 % of the requests failed until the judge noticed, and none afterwards.
    assert!(
        report.failed < report.requests / 5 && report.failed <= 2 * seen.new.errors + 10,
        "{} {seen:?}",
        report.failed
    );
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
}

#[test]
fn release_is_reverted_when_only_health_check_works() {
    let host = Host::start();
    let (app, gapless) = first_release(&host, Runtime::Process);
    App { deploy: "observe = \"30s\"\n".to_owned(), ..app.misbehaving("errors") }.write(host.folder());
    let load = Load::idempotent(host.address(), 300);
    wait_for("the old release answers requests", DEADLINE, || (load.requests() > 300).then_some(()));
    let ran = gapless.run(["deploy"]);
    let report = load.stop();
    assert_eq!(ran.code, 6, "{ran:?}");
    let deployment = gapless.latest();
    assert_eq!(reverted(&deployment).cause, Cause::Judged, "{ran:?}");
    assert!(report.failed > 0 && report.failed < 400, "{}", report.failed);
}

#[test]
fn crash_after_cutover_fails_no_idempotent_request() {
    let host = Host::start();
    let (app, gapless) = first_release(&host, Runtime::Docker);
    App { deploy: "observe = \"30s\"\n".to_owned(), ..app.misbehaving("exit-after=2:3") }.write(host.folder());
    let load = Load::idempotent(host.address(), 300);
    let ran = gapless.run(["deploy"]);
    let report = load.stop();
    assert_eq!(ran.code, 6, "{ran:?}");
    let cause = reverted(&gapless.latest()).cause;
    assert!(matches!(cause, Cause::Exited | Cause::Unreachable), "{cause:?}");
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
}

#[test]
fn rollback_uses_fastest_path_and_reports_it() {
    for runtime in [Runtime::Process, Runtime::Docker] {
        let host = Host::start();
        let (app, gapless) = first_release(&host, runtime);
        let second = |keep_warm: &str| {
            let deploy = format!("observe = \"500ms\"\nkeep_warm = \"{keep_warm}\"\n");
            App { deploy, top: format!("# {keep_warm}\n"), ..app.clone() }.write(host.folder());
            gapless.ok(["deploy", "--force"]);
        };
        second("10m");
        let parked = wait_for("the old slot is parked", DEADLINE, || {
            view(&gapless).slots.into_iter().find(|slot| slot.state == SlotState::Parked)
        });
        assert_eq!(parked.release, 1);
        let load = Load::idempotent(host.address(), 300);
        let ran = gapless.ok(["rollback"]);
        assert!(ran.stdout.contains("its instances were parked and resumed"), "{ran:?}");
        assert_eq!(gapless.latest().rollback_path, Some(RollbackPath::Parked));
        wait_for("the rollback ends", DEADLINE, || gapless.latest().phase.is_end().then_some(()));

        second("0s");
        wait_for("the old slot is stopped", DEADLINE, || (view(&gapless).slots.len() == 1).then_some(()));
        let ran = gapless.ok(["rollback"]);
        assert!(ran.stdout.contains("its instances were started again"), "{ran:?}");
        assert_eq!(gapless.latest().rollback_path, Some(RollbackPath::Started));
        let report = load.stop();
        assert_eq!(report.failed, 0, "{:#?}", report.failures);
    }
}

#[test]
fn deploy_is_skipped_when_release_is_already_live() {
    let host = Host::start();
    let (_, gapless) = first_release(&host, Runtime::Process);
    let ran = gapless.ok(["deploy"]);
    assert!(ran.stdout.contains("release 1 is live already"), "{ran:?}");
    assert_eq!(gapless.latest().phase.name(), "unchanged");
    assert_eq!(view(&gapless).slots.len(), 1);
    let ran = gapless.ok(["deploy", "--force"]);
    assert!(ran.stdout.contains("release 3 is live"), "{ran:?}");
}

//! A server with its records in a real etcd: deployments, restarts, and outages of etcd.

#[path = "../../../crates/store/tests/etcd/daemon.rs"]
#[allow(missing_docs)]
mod daemon;

use daemon::Etcd;
use gapless_api::ApplicationView;
use gapless_harness::{App, Gapless, Host, Runtime, get, wait_for};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn on(etcd: &Etcd) -> String {
    format!("[store]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n", etcd.endpoint())
}

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

#[test]
fn server_on_etcd_resumes_after_kill() {
    let etcd = Etcd::start();
    let mut host = Host::start_configured(&on(&etcd));
    let app = App::new("stored", Runtime::Process);
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    assert!(
        etcd.ctl(&["get", "--keys-only", "--prefix", "/gapless/apps/"]).contains("/gapless/apps/stored/production")
    );
    assert!(gapless.ok(["doctor"]).stdout.contains(&etcd.endpoint()));

    let begun = Instant::now();
    host.kill_server();
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200, "the proxy keeps serving");
    host.start_server();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "the server must not wait for its own lease: {:?}",
        begun.elapsed()
    );
    assert_eq!(view(&gapless).live.map(|slot| slot.to_string()).as_deref(), Some("blue"));
    gapless.ok(["deploy", "--force"]);
    assert_eq!(view(&gapless).live.map(|slot| slot.to_string()).as_deref(), Some("green"));
}

#[test]
fn etcd_kill_during_deployment_loses_nothing() {
    let mut etcd = Etcd::start();
    let host = Host::start_configured(&on(&etcd));
    let app = App::new("broken-off", Runtime::Process);
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);

    app.misbehaving("start-slow=8").write(host.folder());
    gapless.ok(["deploy", "--force", "--detach"]);
    wait_for("the deployment starts", SOON, || gapless.run(["status"]).stdout.contains("starting").then_some(()));
    etcd.kill();
    let away_since = Instant::now();
    let said = wait_for("the server reports it", SOON, || {
        let ran = gapless.run(["status"]);
        (ran.code != 0).then_some(ran.stderr)
    });
    assert!(said.contains("etcd at") && said.contains("refused"), "{said}");
    // Long enough for the lease to expire.
    while away_since.elapsed() < Duration::from_secs(6) {
        assert_eq!(get(host.address(), "/up", "").unwrap().0, 200, "the proxy keeps serving");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gapless.run(["doctor"]).stderr.contains("etcd at"));
    etcd.start_again();
    wait_for("the deployment succeeds", SOON, || {
        let ran = gapless.run(["history"]);
        assert!(!ran.stdout.contains("failed"), "{}", ran.stdout);
        (ran.stdout.matches("succeeded").count() == 2).then_some(())
    });
    assert_eq!(view(&gapless).live.map(|slot| slot.to_string()).as_deref(), Some("green"));
}

#[test]
fn change_is_applied_at_once_when_its_client_is_gone() {
    let etcd = Etcd::start();
    let host = Host::start_configured(&on(&etcd));
    let folder = App::new("orphaned", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    // Simulates a lost commit answer and a client that is gone: no one notifies the controller.
    let key = "/gapless/apps/orphaned/production";
    let record = etcd.ctl(&["get", "--print-value-only", key]);
    let stopped = record.replace("\"desired\":\"running\"", "\"desired\":\"stopped\"");
    assert_ne!(record, stopped);
    etcd.ctl(&["put", key, stopped.trim_end()]);
    // The controller's own polling interval is half a minute.
    wait_for("the application is stopped", Duration::from_secs(10), || {
        get(host.address(), "/up", "").filter(|(status, _)| *status == 503)
    });
}

#[test]
fn server_waits_for_etcd_at_start_while_proxy_serves() {
    let mut etcd = Etcd::start();
    let mut host = Host::start_configured(&on(&etcd));
    let folder = App::new("patient", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    host.kill_server();
    host.kill_proxy_of_killed_server();
    etcd.kill();
    host.spawn_server();
    wait_for("the proxy serves its last table", SOON, || {
        get(host.address(), "/up", "").filter(|(status, _)| *status == 200)
    });
    let said = gapless.run(["status"]).stderr;
    assert!(said.contains("connection refused"), "{said}");
    etcd.start_again();
    wait_for("the server leads", SOON, || (gapless.run(["status"]).code == 0).then_some(()));
    gapless.ok(["deploy", "--force"]);
}

#[test]
fn refusing_etcd_is_reported_at_once() {
    let etcd = Etcd::start();
    let mut host = Host::prepared(([127, 0, 0, 1], 0).into());
    std::fs::write(host.folder().join("password"), "secret\n").unwrap();
    host.configure(&format!("{}user = \"gapless\"\npassword_file = \"password\"\n", on(&etcd)));
    host.spawn_server();
    let code = wait_for("the server exits", SOON, || host.server_ended());
    assert_eq!(code, 1);
    assert!(host.log().contains("authentication is off"), "{}", host.log());

    host.configure("[store]\nkind = \"etcd\"\nendpoint = []\n");
    host.spawn_server();
    let code = wait_for("the server exits", SOON, || host.server_ended());
    assert!(code == 2 && host.log().contains("did you mean `endpoints`?"), "{code}: {}", host.log());
}

//! Everyday commands: status, history, logs, stop, start, abort, remove; and restarts of what is live.

use gapless_api::ApplicationView;
use gapless_harness::{App, Gapless, Host, Runtime, get, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

#[test]
fn application_goes_from_deploy_to_remove() {
    let host = Host::start();
    let folder = App::new("life", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    assert!(gapless.ok(["status"]).stdout.contains("nothing is deployed yet"));

    let deployed = gapless.ok(["deploy", "--force"]).stdout;
    for phase in ["preparing", "starting", "checking", "shifting", "observing", "release 1 is live in blue"] {
        assert!(deployed.contains(phase), "{deployed}");
    }
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    assert!(gapless.ok(["logs"]).stdout.contains("life.production.blue.1.web.1"));

    gapless.ok(["stop"]);
    let (status, answer) = get(host.address(), "/up", "").unwrap();
    assert!(status == 503 && answer.to_lowercase().contains("retry-after:"), "{answer}");
    wait_for("the application is stopped", Duration::from_secs(20), || {
        gapless.run(["status"]).stdout.contains("stopped").then_some(())
    });
    gapless.ok(["start"]);
    wait_for("the application serves again", Duration::from_secs(20), || {
        get(host.address(), "/up", "").filter(|(status, _)| *status == 200)
    });

    gapless.ok(["deploy", "--force"]);
    let history = gapless.ok(["history"]).stdout;
    assert!(history.lines().count() == 3 && history.contains("succeeded"), "{history}");
    assert!(gapless.ok(["show", "2"]).stdout.contains("deploys release 2"));
    assert!(gapless.ok(["doctor"]).stdout.contains("proxy"));

    assert_eq!(gapless.run(["remove"]).code, 2, "remove must ask for confirmation");
    gapless.ok(["remove", "--yes"]);
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 404);
    assert!(gapless.ok(["status"]).stdout.contains("nothing is deployed yet"));
    let left = std::fs::read_dir(host.folder().join("state/processes/instances")).map(|dir| dir.count()).unwrap_or(0);
    assert_eq!(left, 0, "something is left over");
}

/// `gapless stop` returned as soon as the change was recorded.
#[test]
fn stop_returns_when_proxy_has_applied_it() {
    let host = Host::start();
    let gapless = host.gapless().within(&App::new("still", Runtime::Process).write(host.folder()));
    gapless.ok(["deploy", "--force"]);
    let proxy = host.server_info().planes[0].pid.and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
    kill_process(proxy, Signal::STOP).unwrap();
    let mut stop = gapless.spawn(["stop"]);
    let recorded = wait_for("the stop is recorded", Duration::from_secs(4), || {
        let is_stopped = gapless.run(["status"]).stdout.contains("stopped");
        (is_stopped || stop.try_wait().unwrap().is_some()).then_some(is_stopped)
    });
    let has_ended = stop.try_wait().unwrap().is_some();
    kill_process(proxy, Signal::CONT).unwrap();
    assert!(recorded && !has_ended, "`gapless stop` returned while the proxy was paused");
    assert!(stop.wait().unwrap().success());
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 503);
}

#[test]
fn dead_live_instance_is_restarted_and_routed() {
    for runtime in [Runtime::Process, Runtime::Docker] {
        let host = Host::start();
        // The instance dies after the observation, some seconds after it was healthy.
        let app = App {
            deploy: "observe = \"200ms\"\n".to_owned(),
            ..App::new("phoenix", runtime).misbehaving("exit-after=2:1")
        };
        let folder = app.write(host.folder());
        let gapless = host.gapless().within(&folder);
        gapless.ok(["deploy", "--force"]);
        let before = view(&gapless).slots[0].instances[0].clone();
        wait_for("the instance dies", Duration::from_secs(20), || {
            get(host.address(), "/up", "").filter(|(status, _)| *status != 200)
        });
        wait_for("the application answers again", Duration::from_secs(20), || {
            get(host.address(), "/up", "").filter(|(status, _)| *status == 200)
        });
        assert_eq!(view(&gapless).slots[0].instances[0].name, before.name);
    }
}

#[test]
fn abort_before_cutover_cancels_and_keeps_live_release() {
    let host = Host::start();
    let app = App::new("aborted", Runtime::Process);
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    app.misbehaving("start-slow=20").write(host.folder());
    gapless.ok(["deploy", "--force", "--detach"]);
    wait_for("the release is checked", Duration::from_secs(10), || {
        view(&gapless).active.filter(|active| active.phase.name() == "checking")
    });
    let ran = gapless.ok(["abort"]);
    assert!(ran.stdout.contains("aborted by") && ran.stdout.contains("release 1 is live"), "{ran:?}");
    assert_eq!(gapless.run(["abort"]).code, 1, "there is nothing left to abort");
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
}

#[test]
fn rollback_under_observation_reverts_the_release() {
    let host = Host::start();
    let app = App { deploy: "observe = \"30s\"\n".to_owned(), ..App::new("regret", Runtime::Process) };
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    App { deploy: "observe = \"100ms\"\n".to_owned(), ..app.clone() }.write(host.folder());
    gapless.ok(["deploy", "--force"]);
    app.write(host.folder());
    gapless.ok(["deploy", "--force", "--detach"]);
    wait_for("the release is observed", Duration::from_secs(20), || {
        view(&gapless).active.filter(|active| active.phase.name() == "observing")
    });
    let ran = gapless.ok(["rollback"]);
    assert!(ran.stdout.contains("rolled back to release 1"), "{ran:?}");
    assert!(gapless.ok(["show", "2"]).stdout.contains("rolled back by"));
}

#[test]
fn dead_proxy_is_restarted_with_routes_and_queue() {
    let host = Host::start();
    let folder = App::new("proxy-death", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    for _ in 0..5 {
        host.kill_proxy();
        // Connections wait in the listening socket that the server keeps open: none is refused.
        assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    }
}

#[test]
fn proxy_serves_without_server() {
    let mut host = Host::start();
    let folder = App::new("alone", Runtime::Process).write(host.folder());
    host.gapless().within(&folder).ok(["deploy", "--force"]);
    let proxy = host.server_info().planes[0].pid;
    host.kill_server();
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    host.start_server();
    assert_eq!(host.server_info().planes[0].pid, proxy, "the running proxy is adopted");
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
}

#[test]
fn interrupted_client_only_stops_following() {
    let host = Host::start();
    let app = App { deploy: "observe = \"3s\"\n".to_owned(), ..App::new("interrupted", Runtime::Process) };
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    let client = gapless.spawn(["deploy", "--force"]);
    wait_for("the release is observed", Duration::from_secs(20), || {
        let views: Vec<ApplicationView> = gapless.json(["status", "--json"]);
        views.first()?.active.clone().filter(|active| active.phase.name() == "observing")
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(client.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("deployment 1 continues"));
    assert_eq!(gapless.run(["show", "1", "--follow"]).code, 0);
}

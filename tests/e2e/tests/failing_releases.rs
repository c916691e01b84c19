//! Releases that fail, each in its own way: the message, the exit code, and that nothing else changes.

use gapless_api::ApplicationView;
use gapless_harness::{App, CommandResult, Host, Runtime, wait_for};
use std::time::Duration;

const QUICK_HEALTH: &str = "[health]\ndeadline = \"3s\"\ninterval = \"100ms\"\ntimeout = \"500ms\"\n";

/// Deploys a good release, then one that misbehaves, and returns the result. The good release is live afterwards.
fn deploy_bad(runtime: Runtime, how: &str, deploy: &str) -> CommandResult {
    let host = Host::start();
    let app = App { tables: QUICK_HEALTH.to_owned(), ..App::new("bad", runtime) };
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy"]);
    App { deploy: deploy.to_owned(), ..app.misbehaving(how) }.write(host.folder());
    let ran = gapless.run(["deploy"]);
    let view = wait_for("only the good release is left", Duration::from_secs(20), || {
        let views: Vec<ApplicationView> = gapless.json(["status", "--json"]);
        views.into_iter().next().filter(|view| view.slots.len() == 1)
    });
    assert_eq!((view.slots[0].release, view.slots[0].instances[0].in_rotation), (1, true), "{view:#?}");
    ran
}

#[test]
fn error_distinguishes_no_port_from_wrong_port() {
    let ran = deploy_bad(Runtime::Docker, "never-listen", "");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stdout.contains("connection refused on port 9000") && ran.stdout.contains("listens on no port"),
        "{ran:?}"
    );
    let ran = deploy_bad(Runtime::Docker, "port=8081", "");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("listens on 8081"), "{ran:?}");
}

#[test]
fn redirected_health_check_is_reported() {
    let ran = deploy_bad(Runtime::Process, "redirect-up", "");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("301") && ran.stdout.contains("insists on TLS"), "{ran:?}");
}

#[test]
fn deploy_fails_with_exit_code_and_last_lines() {
    for runtime in [Runtime::Docker, Runtime::Process] {
        let ran = deploy_bad(runtime, "start-slow=1,exit-at-start=7", "");
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stdout.contains("exited with code 7") && ran.stdout.contains("last lines"), "{ran:?}");
    }
}

/// Failure mode B4.
#[test]
fn release_is_reverted_when_it_exits_under_observation() {
    for runtime in [Runtime::Docker, Runtime::Process] {
        let ran = deploy_bad(runtime, "exit-after=1:9", "observe = \"8s\"\n");
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(ran.stdout.contains("exited with code 9") && ran.stdout.contains("release 1 is live"), "{ran:?}");
    }
}

/// Failure mode B5.
#[test]
fn release_is_reverted_when_out_of_memory_under_observation() {
    let host = Host::start();
    let app = App::new("memory", Runtime::Docker);
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy"]);
    let limited = App {
        deploy: "observe = \"15s\"\n".to_owned(),
        tables: "[resources]\nmemory = \"64m\"\n".to_owned(),
        ..app.misbehaving("oom-after=1")
    };
    limited.write(host.folder());
    let ran = gapless.run(["deploy"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stdout.contains("ran out of memory"), "{ran:?}");
}

#[test]
fn release_is_reverted_when_unhealthy_under_observation() {
    let ran = deploy_bad(Runtime::Process, "unhealthy-after=1", "observe = \"10s\"\n");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stdout.contains("health checks in a row"), "{ran:?}");
}

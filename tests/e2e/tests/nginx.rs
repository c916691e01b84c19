//! The real nginx as the data plane.

use gapless_core::Deployment;
use gapless_harness::deps::Nginx;
use gapless_harness::{App, Gapless, Host, Load, Runtime, get, wait_for};
use std::fs;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// A host whose data plane is an nginx.
fn host() -> (Nginx, Host) {
    let nginx = Nginx::start();
    let host = Host::start_configured(&nginx.server_config());
    (nginx, host)
}

fn app(name: &str) -> App {
    App { hosts: vec![format!("{name}.test")], ..App::new(name, Runtime::Process) }
}

fn written(host: &Host, app: &App) -> Gapless {
    host.gapless().within(&app.write(host.folder()))
}

/// The release that answers for this host.
fn release(nginx: &Nginx, host: &str, headers: &str) -> Result<String, u16> {
    let (status, answer) = get(nginx.address(), "/", &format!("Host: {host}\r\n{headers}")).expect("nginx answers");
    let lines = answer.lines().map(str::to_ascii_lowercase);
    let release = lines.filter_map(|line| line.strip_prefix("x-release: ").map(str::to_owned)).next();
    if status == 200 { Ok(release.expect("the answer names the release")) } else { Err(status) }
}

#[test]
fn deploys_and_rollback_through_nginx_fail_no_request() {
    let (nginx, host) = host();
    let gapless = written(&host, &app("shop"));
    gapless.ok(["deploy"]);
    let load = Load::forgiving(nginx.address(), "shop.test", 200);
    for _ in 0..4 {
        gapless.ok(["deploy", "--force"]);
    }
    gapless.ok(["rollback"]);
    let last = gapless.latest().release.to_string();
    wait_for("the load has seen the last release", DEADLINE, || {
        load.snapshot().by_release.contains_key(&last).then_some(())
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "of {} requests: {:#?}", report.requests, report.failures);
    assert!(report.by_release.len() >= 5, "{:?}", report.by_release);
    let history: Vec<Deployment> = gapless.json(["history", "--json", "-n", "100"]);
    assert!(history.iter().all(|deployment| deployment.phase.name() == "succeeded"), "{history:#?}");
    // The other server block is unchanged, and an unknown host is served by no application.
    assert_eq!(get(nginx.other(), "/", "").unwrap().0, 200);
    assert_eq!(release(&nginx, "unknown.test", ""), Err(404));
}

#[test]
fn rejected_routes_block_no_other_application() {
    let (nginx, host) = host();
    written(&host, &app("good")).ok(["deploy"]);
    // A name for which nginx's hash of names has no room.
    let long = vec![format!("{0}.{0}.{0}.{0}.test", "a".repeat(55))];
    let bad = App {
        hosts: long,
        deploy: "observe = \"1s\"\nshift_timeout = \"2s\"\n".to_owned(),
        ..App::new("bad", Runtime::Process)
    };
    let ran = written(&host, &bad).run(["deploy"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(!nginx.config_dir().join("app-bad.production.conf").exists());
    // A file of gapless's own that was broken by hand is repaired.
    fs::write(nginx.config_dir().join("app-good.production.conf"), {
        let text = nginx.file("app-good.production.conf");
        format!("{text}nonsense;\n")
    })
    .unwrap();
    let good = host.gapless().within(&host.folder().join("good"));
    good.ok(["deploy", "--force"]);
    assert_eq!(release(&nginx, "good.test", ""), Ok("2".to_owned()));
}

#[test]
fn deploys_continue_after_nginx_restart() {
    let (nginx, host) = host();
    let gapless = written(&host, &app("shop"));
    gapless.ok(["deploy"]);
    nginx.kill();
    wait_for("the doctor reports it", DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        format!("{}{}", ran.stdout, ran.stderr).contains("nginx does not run").then_some(())
    });
    nginx.run();
    assert_eq!(release(&nginx, "shop.test", ""), Ok("1".to_owned()));
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
    let now = gapless.latest().release.to_string();
    assert_eq!(release(&nginx, "shop.test", ""), Ok(now));
}

#[test]
fn foreign_nginx_error_is_reported_and_harms_nothing() {
    let (nginx, host) = host();
    let quick = App { deploy: "observe = \"1s\"\nshift_timeout = \"2s\"\n".to_owned(), ..app("shop") };
    let gapless = written(&host, &quick);
    gapless.ok(["deploy"]);
    nginx.configure(true, "nonsense on;");
    let before = nginx.file("app-shop.production.conf");
    let ran = gapless.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(nginx.file("app-shop.production.conf"), before);
    assert_eq!(release(&nginx, "shop.test", ""), Ok("1".to_owned()));
    nginx.configure(true, "");
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
}

#[test]
fn missing_include_line_is_reported() {
    let nginx = Nginx::prepared();
    nginx.configure(false, "");
    nginx.run();
    let host = Host::start_configured(&nginx.server_config());
    let gapless = written(&host, &app("shop"));
    // The deployment cannot end: the server cannot know whether nginx sends requests to the new release.
    let mut following = gapless.spawn(["deploy"]);
    let line = format!("include {}/*.conf;", nginx.config_dir().display());
    wait_for("the doctor reports it", DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        format!("{}{}", ran.stdout, ran.stderr).contains(&line).then_some(())
    });
    nginx.configure(true, "");
    following.wait().expect("the process exits by itself");
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
}

#[test]
fn unsupported_feature_is_refused_with_reason() {
    let (_nginx, host) = host();
    let tables = "[strategy]\nkind = \"canary\"\nsteps = [{ weight = \"10%\" }]\nby = \"sticky\"\n".to_owned();
    let ran = written(&host, &App { tables, ..app("shop") }).run(["deploy"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["nginx, the data plane of this server, does not support", "signed cookie", "false_alarms = 0"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[test]
fn canary_gets_its_share_and_preview_needs_its_token() {
    let (nginx, host) = host();
    let gapless = written(&host, &app("shop"));
    gapless.ok(["deploy"]);
    let tables =
        "[strategy]\nkind = \"canary\"\nsteps = [{ weight = \"40%\" }]\n[judge]\nfalse_alarms = 0\n".to_owned();
    let gapless = written(&host, &App { tables, ..app("shop") });
    let mut following = gapless.spawn(["deploy"]);
    wait_for("both releases answer", DEADLINE, || {
        let seen: Vec<_> = (0..50).map(|_| release(&nginx, "shop.test", "").unwrap()).collect();
        (seen.iter().any(|one| one == "1") && seen.iter().any(|one| one == "2")).then_some(())
    });
    assert_eq!(release(&nginx, "shop.test", "x-gapless-preview: wrong\r\n"), Err(404));
    wait_for("the canary can be promoted", DEADLINE, || (gapless.run(["promote"]).code == 0).then_some(()));
    wait_for("all requests go to the new release", DEADLINE, || {
        (0..50).all(|_| release(&nginx, "shop.test", "") == Ok("2".to_owned())).then_some(())
    });
    assert!(following.wait().unwrap().success());
}

//! nginx in a container as the data plane: `./scripts/test` builds its image from this host's own nginx.

use gapless_harness::deps::NginxContainer;
use gapless_harness::{App, Gapless, Host, Load, Runtime, free_port, get, wait_for};
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

fn app(name: &str, runtime: Runtime) -> App {
    App { hosts: vec![format!("{name}.test")], ..App::new(name, runtime) }
}

fn written(host: &Host, app: &App) -> Gapless {
    host.gapless().within(&app.write(host.folder()))
}

fn release(address: SocketAddr, host: &str) -> Option<String> {
    let (status, answer) = get(address, "/", &format!("Host: {host}\r\n"))?;
    let lines = answer.lines().map(str::to_ascii_lowercase);
    lines.filter_map(|line| line.strip_prefix("x-release: ").map(str::to_owned)).next().filter(|_| status == 200)
}

/// Waits until the doctor reports all of these texts.
fn doctor_reports(host: &Host, parts: &[&str]) {
    wait_for(&format!("the doctor reports {parts:?}"), DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        parts.iter().all(|part| said.contains(part)).then_some(())
    });
}

/// Waits until a deployment succeeds, and its release answers.
fn deploys_again(gapless: &Gapless, address: SocketAddr) {
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
    let latest = gapless.latest();
    assert_eq!(release(address, "shop.test"), Some(latest.release.to_string()));
}

#[test]
fn deploys_and_rollback_fail_no_request() {
    let nginx = NginxContainer::start("c1", None);
    let host = Host::start_configured(&nginx.server_config());
    let gapless = written(&host, &app("shop", Runtime::Process));
    gapless.ok(["deploy"]);
    let load = Load::forgiving(nginx.address(), "shop.test", 200);
    for _ in 0..3 {
        gapless.ok(["deploy", "--force"]);
    }
    gapless.ok(["rollback"]);
    let report = load.stop();
    assert_eq!(report.failed, 0, "of {} requests: {:#?}", report.requests, report.failures);
    assert!(report.by_release.len() >= 4, "{:?}", report.by_release);
    doctor_reports(&host, &["applies the routes of version"]);
}

#[test]
fn nginx_with_own_network_reaches_containers() {
    let docker = std::process::Command::new("docker").args(["network", "create", "gapless"]).output();
    // gapless would create the network for the first instance; it may exist already.
    docker.expect("docker can be run");
    let nginx = NginxContainer::start("c2", Some("gapless"));
    let host = Host::start_configured(&nginx.server_config());
    let gapless = written(&host, &app("ngxshop", Runtime::Docker));
    for expected in ["1", "2"] {
        gapless.ok(["deploy", "--force"]);
        assert_eq!(release(nginx.address(), "ngxshop.test").as_deref(), Some(expected));
    }
    // A loopback address inside the container cannot be reached from outside.
    drop(host);
    let host = Host::start_configured(&nginx.server_config().replace("status = \"0.0.0.0", "status = \"127.0.0.1"));
    doctor_reports(&host, &["has a network of its own", "status = \"0.0.0.0:"]);
}

#[test]
fn ended_nginx_container_is_reported_and_deploys_resume() {
    let nginx = NginxContainer::prepared("c3", None);
    let host = Host::start_configured(&nginx.server_config());
    doctor_reports(&host, &[&format!("there is no container {}", nginx.name())]);
    nginx.run();
    let quick =
        App { deploy: "observe = \"1s\"\nshift_timeout = \"2s\"\n".to_owned(), ..app("shop", Runtime::Process) };
    let gapless = written(&host, &quick);
    deploys_again(&gapless, nginx.address());
    let before = release(nginx.address(), "shop.test");
    nginx.order("pause");
    doctor_reports(&host, &["is paused", "docker unpause"]);
    nginx.order("unpause");
    deploys_again(&gapless, nginx.address());
    nginx.order("stop");
    doctor_reports(&host, &["has ended", &format!("docker start {}", nginx.name())]);
    let ran = gapless.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    // At its start nginx reads the previous routes: the live release.
    nginx.order("start");
    wait_for("nginx answers again", DEADLINE, || release(nginx.address(), "shop.test"));
    assert_ne!(release(nginx.address(), "shop.test"), before);
    deploys_again(&gapless, nginx.address());
    nginx.remove();
    doctor_reports(&host, &["there is no container"]);
    nginx.run();
    deploys_again(&gapless, nginx.address());
}

#[test]
fn docker_outage_is_reported_and_harms_nothing() {
    let nginx = NginxContainer::start("c4", None);
    let mut host = Host::prepared(SocketAddr::from(([127, 0, 0, 1], free_port())));
    host.configure(&nginx.server_config());
    // The Engine of this server alone is unreachable.
    let socket = host.folder().join("docker.sock");
    let link = || std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    link();
    host.starter(&["env", &format!("DOCKER_HOST=unix://{}", socket.display())]);
    host.start_server();
    let quick =
        App { deploy: "observe = \"1s\"\nshift_timeout = \"2s\"\n".to_owned(), ..app("shop", Runtime::Process) };
    let gapless = written(&host, &quick);
    deploys_again(&gapless, nginx.address());
    let before = release(nginx.address(), "shop.test");
    host.kill_server();
    std::fs::remove_file(&socket).unwrap();
    host.start_server();
    doctor_reports(&host, &["cannot inspect nginx's container", "Docker cannot be reached", "systemctl start docker"]);
    let ran = gapless.run(["deploy", "--force", "--detach"]);
    assert_eq!(release(nginx.address(), "shop.test"), before, "{ran:?}");
    link();
    deploys_again(&gapless, nginx.address());
}

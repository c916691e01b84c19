//! Replacement of the running version during requests.

use gapless_api::ServerInfo;
use gapless_harness::{App, Host, Load, Runtime, wait_for};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

fn proxy_of(info: &ServerInfo) -> u32 {
    info.planes[0].pid.unwrap()
}

#[test]
fn upgrade_during_deployments_loses_no_request() {
    let mut host = Host::start();
    let app = App::new("upgraded", Runtime::Process);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let load = Load::of_all_kinds(host.address(), 300);
    let mut seen = vec![proxy_of(&host.server_info())];
    for round in 0..4 {
        let before = host.server_info();
        // During a deployment, and without one.
        gapless.ok(["deploy", "--force", if round % 2 == 0 { "--detach" } else { "--json" }]);
        let said = gapless.ok(["upgrade"]).stdout;
        let after = host.server_info();
        assert!(said.contains(&format!("process {}", proxy_of(&after))), "{said}");
        assert_eq!(before.pid, after.pid, "the server is the same process");
        assert_ne!(before.started_at, after.started_at);
        seen.push(proxy_of(&after));
        wait_for("the deployment ends", Duration::from_secs(60), || gapless.latest().phase.is_end().then_some(()));
        gapless.ok(["rollback"]);
    }
    let report = load.stop();
    seen.dedup();
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(report.failures.is_empty() && report.requests > 1000, "{report:#?}");
    println!("{} requests over 4 upgrades, 4 deployments and 4 rollbacks, 0 failed", report.requests);
    // The next server adopts the last proxy.
    host.kill_server();
    host.start_server();
    assert_eq!(host.server_info().planes[0].pid, seen.last().copied());
}

#[test]
fn followed_logs_survive_upgrade_with_each_line_once() {
    let host = Host::start();
    let gapless = host.gapless().within(&App::new("followed", Runtime::Process).write(host.folder()));
    gapless.ok(["deploy"]);
    let mut follower = gapless.spawn(["logs", "--follow"]);
    let (show, shown) = mpsc::channel();
    let stdout = BufReader::new(follower.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().try_for_each(|line| show.send(line.unwrap())));
    let next = || shown.recv_timeout(Duration::from_secs(30));
    assert!(next().unwrap().contains("release 1 starts"));
    gapless.ok(["upgrade"]);
    gapless.ok(["stop"]);
    assert!(next().unwrap().ends_with("release 1 ends"));
    assert_eq!(next(), Err(mpsc::RecvTimeoutError::Disconnected));
    let ended = follower.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr).trim(), "the server does not answer; retrying for up to 60 s");
}

#[test]
fn requests_during_server_restart_are_answered() {
    let host = Host::start();
    let gapless = host.gapless();
    let is_over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = [(); 3].map(|()| {
            scope.spawn(|| {
                let mut asked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // Panics if the server refuses or drops the connection.
                    assert!(proxy_of(&host.server_info()) > 0);
                    asked += 1;
                }
                asked
            })
        });
        for _ in 0..10 {
            // As `systemctl reload gapless gapless-proxy` does: both at the same time.
            let mut server = gapless.spawn(["upgrade", "--only", "server"]);
            gapless.ok(["upgrade", "--only", "proxy"]);
            assert!(server.wait().unwrap().success());
        }
        is_over.store(true, Ordering::Relaxed);
        asking.map(|asking| asking.join().expect("all were answered")).into_iter().sum::<usize>()
    });
    assert!(asked > 100, "{asked}");
    assert_eq!(host.log().matches("upgrade requested").count(), 10);
}

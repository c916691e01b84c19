//! Another version takes the place of the one that runs, while requests go on.

use gapless_api::ServerInfo;
use gapless_e2e::{App, Host, Load, Runtime, wait_for};
use std::time::Duration;

fn proxy_of(info: &ServerInfo) -> u32 {
    info.planes[0].pid.unwrap()
}

#[test]
fn proxies_and_servers_are_replaced_while_releases_change_and_no_request_is_lost() {
    let mut host = Host::start();
    let app = App::new("upgraded", Runtime::Process);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let load = Load::of_all_kinds(host.address(), 300);
    let mut seen = vec![proxy_of(&host.server_info())];
    for round in 0..4 {
        let before = host.server_info();
        // In the middle of a deployment, and beside one.
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
    // The last one is adopted by whoever comes.
    host.kill_server();
    host.start_server();
    assert_eq!(host.server_info().planes[0].pid, seen.last().copied());
}

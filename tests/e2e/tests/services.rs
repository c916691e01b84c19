//! Several services in one application: one deployment starts, checks and tests all of them, and all cut over in one
//! table; workers are deployed with them and get no requests.

use gapless_api::{ApplicationView, SlotState};
use gapless_core::deployment::{Cause, Outcome, Phase};
use gapless_harness::{App, Gapless, Host, Load, Runtime, get, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A front end, an API and a worker from one image or program.
fn three(runtime: Runtime) -> App {
    let port = if runtime == Runtime::Docker { "port = 9000\n" } else { "" };
    let gate = "[[gates]]\nname = \"addresses\"\ncommand = [\"sh\", \"-c\", \"echo web $GAPLESS_INSTANCES_WEB api $GAPLESS_INSTANCES_API\"]\n";
    let services = format!("[services.web]\npath = \"/\"\n{port}[services.api]\npath = \"/api\"\n{port}replicas = 2\n");
    let worker = "[services.worker]\nhealth = { settle = \"300ms\" }\n";
    App { tables: format!("{services}{worker}{gate}"), ..App::new("shop", runtime) }
}

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

/// The service and release that answer.
fn who(host: &Host, path: &str) -> Option<(String, u64)> {
    let (status, answer) = get(host.address(), path, "")?;
    let header = |name: &str| {
        let line = answer.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
        Some(line.split_once(": ")?.1.trim().to_owned())
    };
    (status == 200).then_some((header("x-service")?, header("x-release")?.parse().ok()?))
}

#[test]
fn all_services_cut_over_at_once_without_lost_requests() {
    for runtime in [Runtime::Process, Runtime::Docker] {
        let host = Host::start();
        let gapless = host.gapless().within(&three(runtime).write(host.folder()));
        let deployed = gapless.ok(["deploy"]).stdout;
        assert!(deployed.contains("web ") && deployed.contains("api "), "{deployed}");
        assert_eq!(who(&host, "/"), Some(("web".to_owned(), 1)));
        assert_eq!(who(&host, "/api/stories"), Some(("api".to_owned(), 1)));
        let live = view(&gapless).slots.into_iter().find(|slot| slot.state == SlotState::Live).unwrap();
        let services: Vec<_> = live.instances.iter().map(|instance| instance.service.as_str()).collect();
        assert_eq!(services, ["api", "api", "web", "worker"]);

        let load = Load::of_all_kinds(host.address(), 200);
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, address) = (is_over.clone(), host.address());
        let watching = std::thread::spawn(move || {
            // One request after another, so that each release can be compared with the previous one.
            let mut newest = 0;
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                for path in ["/", "/api/stories"] {
                    let Some((200, answer)) = get(address, path, "") else { continue };
                    let release = answer.lines().find_map(|line| line.strip_prefix("x-release: "));
                    let release: u64 = release.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                    assert!(release >= newest, "{path} was answered by release {release} after {newest}");
                    newest = release;
                    seen.push(release);
                }
            }
            seen
        });
        gapless.ok(["deploy", "--force"]);
        is_over.store(true, Ordering::Relaxed);
        let seen = watching.join().expect("no service fell behind another one");
        assert!(seen.contains(&1) && seen.contains(&2), "both releases must answer");
        gapless.ok(["rollback"]);
        let report = load.stop();
        assert_eq!(report.failed, 0, "of {}: {:#?}", report.requests, report.failures);
        assert_eq!(who(&host, "/api/stories"), Some(("api".to_owned(), 1)));

        let logs = gapless.ok(["logs", "--service", "worker"]).stdout;
        assert!(logs.contains(".worker.1") && !logs.contains(".api.1"), "{logs}");
        wait_for("no deployment is running", DEADLINE, || view(&gapless).active.is_none().then_some(()));
        gapless.ok(["remove", "--yes"]);
        if runtime == Runtime::Docker {
            let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let networks = tokio.block_on(docker.list_networks(None)).unwrap();
            let names: Vec<_> = networks.into_iter().filter_map(|network| network.name).collect();
            assert!(!names.iter().any(|name| name.starts_with("gapless.shop.")), "left over: {names:?}");
        }
    }
}

#[test]
fn deploy_fails_or_reverts_when_worker_exits() {
    let host = Host::start();
    let app = three(Runtime::Process);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let failing = |how: &str| {
        let tables = format!("{}[services.worker.env]\nMISBEHAVE = \"{how}\"\n", app.tables);
        App { tables, deploy: "observe = \"20s\"\n".to_owned(), ..app.clone() }.write(host.folder());
        let code = gapless.run(["deploy"]).code;
        let deployment = gapless.json::<Vec<gapless_core::Deployment>, _>(["history", "--json"]).remove(0);
        (code, deployment.phase)
    };
    let (code, phase) = failing("exit-at-start=3");
    assert!(matches!(&phase, Phase::Ended(Outcome::Failed(reason)) if reason.cause == Cause::Exited), "{phase:?}");
    assert_eq!(code, 3);
    let (code, phase) = failing("start-slow=6,exit-at-start=3");
    let Phase::Ended(Outcome::Reverted(reason)) = &phase else { panic!("{phase:?}") };
    assert!(reason.cause == Cause::Exited && reason.message.contains(".worker.1 exited with code 3"), "{reason:?}");
    assert_eq!(code, 6);
    assert_eq!(who(&host, "/api/stories"), Some(("api".to_owned(), 1)));
}

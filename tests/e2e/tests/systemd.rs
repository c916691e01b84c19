//! gapless under systemd, on a host booted by systemd.

use gapless_harness::deps::SystemdHost;
use gapless_harness::wait_for;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// Writes an application for the systemd runtime.
fn application(host: &SystemdHost, top: &str, tables: &str) {
    let text = format!(
        "name = \"shop\"\n{top}command = [\"/opt/gapless/bdd-assistant\"]\n[env]\nDATA_DIR = \"/srv/data\"\n[deploy]\n\
         observe = \"1s\"\n{tables}"
    );
    std::fs::create_dir_all(host.folder().join("data")).unwrap();
    std::fs::write(host.folder().join("gapless.toml"), text).unwrap();
}

/// The exposure level of a unit by `systemd-analyze security`.
fn exposure(host: &SystemdHost, unit: &str) -> f64 {
    let path = format!("/etc/systemd/system/{unit}");
    let said = host.ok(&["systemd-analyze", "security", "--offline=true", "--no-pager", &path]);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let figure = line.split_whitespace().find_map(|word| word.parse().ok());
    figure.unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn installed_gapless_loses_no_request_over_its_restarts() {
    let host = SystemdHost::start("install");
    let said = host.gapless(&["install", "--dry-run"]);
    assert!(said.contains("would write /etc/systemd/system/gapless-proxy.socket"), "{said}");
    assert_ne!(host.run(&["test", "-e", "/etc/systemd/system/gapless.service"]).code, 0, "a dry run wrote");
    host.gapless(&["install"]);
    let again = host.gapless(&["install"]);
    assert_eq!(again.matches("is up to date").count(), 3, "{again}");
    for unit in ["gapless.service", "gapless-proxy.service", "gapless-proxy.socket"] {
        assert!(host.is_active(unit), "{unit}");
    }
    let figures = (exposure(&host, "gapless-proxy.service"), exposure(&host, "gapless.service"));
    println!("exposure: proxy {}, server {}", figures.0, figures.1);
    assert!(figures.0 <= 2.0 && figures.1 <= 4.0, "{figures:?}");

    application(&host, "runtime = \"process\"\n", "");
    host.gapless(&["deploy"]);
    wait_for("the application answers", DEADLINE, || host.get("/up"));
    let proxy = host.ok(&["systemctl", "show", "--value", "--property=MainPID", "gapless-proxy"]);
    let report = host.under_load("all", || {
        for _ in 0..3 {
            host.ok(&["systemctl", "restart", "gapless"]);
        }
        host.gapless(&["deploy", "--force"]);
    });
    assert_eq!(report["failed"], 0, "{report:#}");
    println!("{} requests over three restarts of the server and a deployment, 0 failed", report["requests"]);
    assert_eq!(host.ok(&["systemctl", "show", "--value", "--property=MainPID", "gapless-proxy"]), proxy);

    // Nothing accepts connections: the connection waits in the socket, and makes systemd start the proxy again.
    host.ok(&["systemctl", "stop", "gapless-proxy.service"]);
    assert!(!host.is_active("gapless-proxy.service") && host.is_active("gapless-proxy.socket"));
    wait_for("a request that found no proxy is answered", DEADLINE, || host.get("/up"));
    assert_ne!(host.ok(&["systemctl", "show", "--value", "--property=MainPID", "gapless-proxy"]), proxy);

    // New connections find no proxy for a moment. Without long connections, which the restart would wait for.
    let report = host.under_load("get", || {
        for _ in 0..2 {
            host.ok(&["systemctl", "restart", "gapless-proxy"]);
        }
    });
    assert_eq!(report["failed"], 0, "{report:#}");
    println!("{} requests over two restarts of the proxy, 0 failed", report["requests"]);

    upgrades(&host);

    // A proxy that runs and answers nothing.
    std::fs::write(host.folder().join("own.conf"), "[Service]\nWatchdogSec=2s\n").unwrap();
    host.ok(&["mkdir", "/etc/systemd/system/gapless-proxy.service.d"]);
    host.ok(&["cp", "/srv/own.conf", "/etc/systemd/system/gapless-proxy.service.d/own.conf"]);
    host.ok(&["systemctl", "daemon-reload"]);
    host.ok(&["systemctl", "restart", "gapless-proxy"]);
    host.ok(&["systemctl", "kill", "--signal=STOP", "gapless-proxy.service"]);
    wait_for("the watchdog restarts a stuck proxy", DEADLINE, || host.get("/up"));
    let restarts = host.ok(&["systemctl", "show", "--value", "--property=NRestarts", "gapless-proxy"]);
    assert_eq!(restarts.trim(), "1");

    let fields = host.ok(&["journalctl", "-u", "gapless", "-o", "json", "--no-pager"]);
    assert!(fields.contains("\"TARGET\":\"gapless_server"), "no fields in the journal: {fields}");

    host.reboot();
    wait_for("the application answers after a reboot", DEADLINE, || host.get("/up"));
    host.gapless(&["install", "--uninstall"]);
    assert!(!host.is_active("gapless.service") && !host.is_active("gapless-proxy.socket"));
    host.gapless(&["install", "--uninstall"]);
}

/// Upgrades replace the running program; a program that cannot run does not replace it.
fn upgrades(host: &SystemdHost) {
    let main_pid = |unit: &str| host.ok(&["systemctl", "show", "--value", "--property=MainPID", unit]);
    host.ok(&["cp", "/opt/gapless/gapless", "/usr/local/bin/gapless"]);
    host.ok(&["/usr/local/bin/gapless", "install"]);
    host.ok(&["systemctl", "restart", "gapless", "gapless-proxy"]);
    wait_for("the application answers", DEADLINE, || host.get("/up"));
    let (proxy, server) = (main_pid("gapless-proxy"), main_pid("gapless"));
    let report = host.under_load("all", || {
        for _ in 0..2 {
            host.ok(&["cp", "--remove-destination", "/opt/gapless/gapless", "/usr/local/bin/gapless"]);
            host.gapless(&["upgrade"]);
            host.gapless(&["deploy", "--force"]);
            host.ok(&["systemctl", "reload", "gapless", "gapless-proxy"]);
        }
    });
    assert_eq!(report["failed"], 0, "{report:#}");
    println!("{} requests over two upgrades and two deployments, 0 failed", report["requests"]);
    assert_eq!(main_pid("gapless"), server);
    let upgraded = main_pid("gapless-proxy");
    assert_ne!(upgraded, proxy, "systemd knows the new process");
    assert!(host.is_active("gapless-proxy"));

    host.ok(&["cp", "--remove-destination", "/bin/false", "/usr/local/bin/gapless"]);
    for (unit, role) in [("gapless", "server"), ("gapless-proxy", "proxy")] {
        assert_ne!(host.run(&["systemctl", "reload", unit]).code, 0, "{unit}");
        let ran = host.run(&["/opt/gapless/gapless", "upgrade", "--only", role]);
        assert!(ran.code == 1 && ran.stderr.contains("was not replaced"), "{ran:?}");
    }
    wait_for("both have noticed that the program cannot run", DEADLINE, || {
        let said = host.ok(&["journalctl", "-u", "gapless", "-u", "gapless-proxy", "--no-pager"]);
        (said.contains("the program on disk does not run") && said.contains("the successor ended")).then_some(())
    });
    assert!(host.get("/up").is_some());
    assert_eq!((main_pid("gapless-proxy"), main_pid("gapless")), (upgraded, server));
    host.ok(&["cp", "--remove-destination", "/opt/gapless/gapless", "/usr/local/bin/gapless"]);
}

#[test]
fn foreign_unit_file_is_left_alone() {
    let host = SystemdHost::start("taken");
    let own = "[Service]\nExecStart=/bin/true\n";
    std::fs::write(host.folder().join("own"), own).unwrap();
    host.ok(&["cp", "/srv/own", "/etc/systemd/system/gapless.service"]);
    for words in [&["install"][..], &["install", "--uninstall"]] {
        let all: Vec<&str> = std::iter::once("/opt/gapless/gapless").chain(words.iter().copied()).collect();
        let ran = host.run(&all);
        assert!(ran.code == 2 && ran.stderr.contains("gapless did not write it"), "{ran:?}");
    }
    assert_eq!(host.ok(&["cat", "/etc/systemd/system/gapless.service"]), own);
    assert_ne!(host.run(&["test", "-e", "/etc/systemd/system/gapless-proxy.socket"]).code, 0, "half of it was written");

    // The same for the unit of an instance.
    host.ok(&["rm", "/etc/systemd/system/gapless.service"]);
    host.gapless(&["install"]);
    application(&host, "runtime = \"systemd\"\n", "[host_ports]\nblue = 9001\ngreen = 9002\n");
    let unit = "/etc/systemd/system/shop-blue@9001.service";
    host.ok(&["cp", "/srv/own", unit]);
    let ran = host.run(&["/opt/gapless/gapless", "deploy"]);
    assert!(ran.code == 1 && format!("{ran:?}").contains("this gapless did not write it"), "{ran:?}");
    assert_eq!(host.ok(&["cat", unit]), own);

    host.ok(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    let ran = host.run(&["/opt/gapless/gapless", "install"]);
    assert!(ran.code == 1 && ran.stderr.contains("systemd cannot be reached over D-Bus"), "{ran:?}");
}

#[test]
fn systemd_runtime_passes_conformance() {
    let host = SystemdHost::start("conformance");
    let said = host.ok(&["/opt/gapless/examples/systemd_conformance", "/opt/gapless/examples/probe"]);
    assert!(said.contains("conformance passed"), "{said}");
}

/// The instances' units according to systemd: name and state.
fn instances(host: &SystemdHost) -> Vec<(String, String)> {
    let all = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "shop-*@*.service"];
    let said = host.ok(&all);
    let fields = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.map(|fields| (fields[0].to_owned(), fields[3].to_owned())).collect()
}

#[test]
fn only_live_slot_returns_after_reboot_without_server() {
    let host = SystemdHost::start("reboot");
    host.gapless(&["install"]);
    let limits = "[resources]\nmemory = \"256m\"\ncpus = 0.5\n";
    application(&host, "runtime = \"systemd\"\n", limits);
    host.gapless(&["deploy"]);
    let report = host.under_load("all", || {
        host.gapless(&["deploy", "--force"]);
        host.gapless(&["rollback"]);
        host.gapless(&["deploy", "--force"]);
    });
    assert_eq!(report["failed"], 0, "{report:#}");
    println!("{} requests over two deployments and a rollback, 0 failed", report["requests"]);
    // The earlier slot of the last deployment is stopped in the background.
    let before =
        wait_for("both slots have an instance", DEADLINE, || Some(instances(&host)).filter(|all| all.len() == 2));
    let enabled = |unit: &str| host.run(&["systemctl", "is-enabled", "--quiet", unit]).code == 0;
    let live: Vec<_> = before.iter().map(|(unit, _)| unit).filter(|unit| enabled(unit)).collect();
    assert_eq!(live.len(), 1, "{before:?}");
    let shown = host.ok(&["systemctl", "show", live[0], "--property=MemoryMax,CPUQuotaPerSecUSec,NoNewPrivileges"]);
    for wanted in ["MemoryMax=268435456", "CPUQuotaPerSecUSec=500ms", "NoNewPrivileges=yes"] {
        assert!(shown.contains(wanted), "{shown}");
    }

    // A server that saw the instances stop would regard them as dead, and leave routes without them behind.
    std::fs::write(host.folder().join("slow.conf"), "[Service]\nExecStop=/bin/sleep 3\n").unwrap();
    host.ok(&["mkdir", "/etc/systemd/system/gapless.service.d"]);
    host.ok(&["cp", "/srv/slow.conf", "/etc/systemd/system/gapless.service.d/slow.conf"]);
    host.ok(&["systemctl", "daemon-reload"]);
    // Without the server, so that only systemd can start the live slot.
    host.ok(&["systemctl", "disable", "gapless"]);
    host.reboot();
    wait_for("the live slot answers", DEADLINE, || host.get("/up"));
    assert!(!host.is_active("gapless"));
    let running: Vec<_> = instances(&host).into_iter().filter(|(_, state)| state == "running").collect();
    assert_eq!(running, [(live[0].clone(), "running".to_owned())]);
    host.ok(&["systemctl", "start", "gapless"]);
    host.gapless(&["deploy", "--force"]);
    assert!(host.gapless(&["logs", "shop"]).contains("starts in"), "no output in the journal");
    host.gapless(&["remove", "shop", "--yes"]);
    assert_eq!(instances(&host), []);
}

//! Facts for other programs, users' own keys, and the move of everything between stores.

#[path = "../../../crates/store/tests/etcd/daemon.rs"]
#[allow(missing_docs)]
mod daemon;

use daemon::Etcd;
use gapless_api::{ApplicationView, KvPairs};
use gapless_harness::{App, Gapless, Host, Runtime, free_port, get, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn on(etcd: &Etcd) -> String {
    format!("[store]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n", etcd.endpoint())
}

/// The live slot.
fn live(gapless: &Gapless) -> String {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"])[0].live.expect("a slot is live").to_string()
}

#[test]
fn etcdctl_shows_facts_after_each_deploy() {
    let etcd = Etcd::start();
    etcd.ctl(&["put", "/facts/other", "another program's"]);
    let host = Host::start_configured(&on(&etcd));
    let ports = [free_port(), free_port()];
    let app = App {
        tables: format!("[host_ports]\nblue = {}\ngreen = {}\n", ports[0], ports[1]),
        hosts: vec!["facts.example".to_owned()],
        ..App::new("facts", Runtime::Process)
    };
    let folder = app.write(host.folder());
    let gapless = host.gapless().within(&folder);
    let fact = |name: &str| etcd.ctl(&["get", "--print-value-only", &format!("/facts/{name}")]).trim().to_owned();
    for round in 1..=4 {
        gapless.ok(["deploy", "--force"]);
        let slot = live(&gapless);
        let port = if slot == "blue" { ports[0] } else { ports[1] };
        wait_for("the facts agree", Duration::from_secs(2), || {
            (fact("instance") == slot && fact("port") == port.to_string()).then_some(())
        });
        assert_eq!(fact("release"), round.to_string());
        assert_eq!((fact("hosts"), fact("addresses")), ("facts.example".to_owned(), format!("127.0.0.1:{port}")));
        assert!(!fact("digest").is_empty());
    }
    let listed: KvPairs = gapless.json(["kv", "ls", "/facts/", "--json"]);
    assert_eq!(listed.pairs.len(), 7);
    assert_eq!(gapless.ok(["kv", "get", "/facts/instance"]).stdout.trim(), live(&gapless));
    let refused = gapless.run(["kv", "put", "/gapless/apps/facts/production", "x"]);
    assert!(refused.code != 0 && refused.stderr.contains("gapless's own keys"), "{refused:?}");
    gapless.ok(["rollback"]);
    wait_for("the facts agree", Duration::from_secs(2), || (fact("instance") == live(&gapless)).then_some(()));
    gapless.ok(["remove", "--yes"]);
    wait_for("only the other program's key is left", SOON, || {
        (etcd.ctl(&["get", "--prefix", "/facts/"]).trim() == "/facts/other\nanother program's").then_some(())
    });
}

#[test]
fn kv_shows_and_watches_facts_in_embedded_store() {
    let host = Host::start();
    let folder = App::new("local", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    wait_for("the facts are published", Duration::from_secs(2), || {
        (gapless.run(["kv", "get", "/local/instance"]).stdout.trim() == "blue").then_some(())
    });
    gapless.ok(["kv", "put", "/mine/a b", "two words"]);
    assert_eq!(gapless.ok(["kv", "get", "/mine/a b"]).stdout, "two words\n");
    gapless.ok(["kv", "delete", "/mine/a b"]);
    assert_eq!(gapless.run(["kv", "get", "/mine/a b"]).code, 1);

    let client = gapless_api::Client::new(host.socket());
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let now = client.kv("/local").await.unwrap();
        let (changed, ()) = tokio::join!(client.kv_watch("/local/instance", now.revision), async {
            let deploying = gapless.clone();
            tokio::task::spawn_blocking(move || deploying.ok(["deploy", "--force"])).await.unwrap();
        });
        let changed = changed.unwrap();
        assert_eq!(changed.pairs[0].value, "green");
        assert!(changed.revision > now.revision);
    });
}

#[test]
fn state_moves_from_sqlite_to_etcd_and_back() {
    let etcd = Etcd::start();
    let mut host = Host::start();
    let folder = App::new("moved", Runtime::Process).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy", "--force"]);
    gapless.ok(["kv", "put", "/mine", "kept"]);
    let file = host.folder().join("export").display().to_string();
    let state = host.folder().join("state").display().to_string();
    let said = gapless.ok(["store", "export", &file, "--state-dir", &state]).stdout;
    assert!(said.contains("exported"), "{said}");

    host.kill_server();
    // Without a server, the export is read from the store itself, and is the same.
    let offline = format!("{file}-offline");
    gapless.ok(["store", "export", &offline, "--state-dir", &state]);
    let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(&file), lines(&offline));
    host.configure(&on(&etcd));
    let config = host.folder().join("server.toml").display().to_string();
    gapless.ok(["store", "import", &file, "--config", &config]);
    let refused = gapless.run(["store", "import", &file, "--config", &config]);
    assert!(refused.code == 1 && refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/mine"]).trim(), "kept");

    host.start_server();
    assert_eq!(live(&gapless), "blue");
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
    let refused = gapless.run(["store", "import", &file, "--config", &config, "--force"]);
    assert!(refused.stderr.contains("stop all servers"), "{refused:?}");
    gapless.ok(["deploy", "--force"]);
    assert_eq!(live(&gapless), "green");
    wait_for("the facts are published", SOON, || {
        (etcd.ctl(&["get", "--print-value-only", "/moved/instance"]).trim() == "green").then_some(())
    });

    gapless.ok(["store", "export", &file, "--config", &config, "--state-dir", &state, "--kv", "/mine"]);
    host.kill_server();
    std::fs::remove_file(&config).unwrap();
    gapless.ok(["store", "import", &file, "--state-dir", &state, "--force"]);
    host.start_server();
    assert_eq!(live(&gapless), "green");
    assert_eq!(gapless.ok(["kv", "get", "/mine"]).stdout.trim(), "kept");
    gapless.ok(["rollback"]);
    assert_eq!(live(&gapless), "blue");
    assert_eq!(get(host.address(), "/up", "").unwrap().0, 200);
}

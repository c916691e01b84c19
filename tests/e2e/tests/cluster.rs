//! Several servers on one etcd: one leads, another server takes over when it is gone, and a deposed server changes
//! nothing.

#[path = "../../../crates/store/tests/etcd/certificates.rs"]
#[allow(missing_docs)]
mod certificates;
#[path = "../../../crates/store/tests/etcd/daemon.rs"]
#[allow(missing_docs)]
mod daemon;

use certificates::Authority;
use daemon::Etcd;
use gapless_api::{ApplicationView, Role};
use gapless_core::Deployment;
use gapless_harness::{App, Gapless, Host, Runtime, free_port, get, wait_for};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// The maximum time until another server leads after a kill.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Two servers of one host, which share its proxy and its processes.
struct Pair {
    shared: tempfile::TempDir,
    one: Host,
    two: Host,
}

impl Pair {
    fn start(etcd: &Etcd, peers: impl Fn(&Path, u16) -> String) -> Pair {
        let shared = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut hosts = ["one", "two"].map(|name| {
            let mut host = Host::prepared(listen);
            host.configure(&format!(
                "name = \"{name}\"\nhost_dir = \"{}\"\n[store]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n{}",
                shared.path().join("host").display(),
                etcd.endpoint(),
                peers(host.folder(), free_port())
            ));
            host.start_server();
            host
        });
        let [one, two] = &mut hosts;
        assert_eq!((one.server_info().role, two.server_info().role), (Role::Leader, Role::Follower));
        assert_eq!(two.server_info().leader.as_deref(), Some("one"));
        let [one, two] = hosts;
        Pair { shared, one, two }
    }

    fn end(mut self) {
        self.one.remove_applications();
        self.two.remove_applications();
        // Both servers before the proxy, which the leader would restart.
        self.one.kill_server();
        self.two.kill_server();
        self.one.end();
    }
}

fn no_peers(_: &Path, _: u16) -> String {
    String::new()
}

fn leads(host: &Host) -> Option<()> {
    (host.gapless().run(["status"]).code == 0 && host.server_info().role == Role::Leader).then_some(())
}

fn live(gapless: &Gapless) -> Option<String> {
    let views: Vec<ApplicationView> = gapless.json(["status", "--json"]);
    views.first()?.live.map(|slot| slot.to_string())
}

#[test]
fn follower_answers_reads_and_forwards_writes() {
    let etcd = Etcd::start();
    let pair = Pair::start(&etcd, no_peers);
    let folder = App::new("forwarded", Runtime::Process).write(pair.shared.path());
    let (one, two) = (pair.one.gapless().within(&folder), pair.two.gapless().within(&folder));
    let deployed = two.ok(["deploy", "--force"]).stdout;
    assert!(deployed.contains("release 1 is live in blue"), "followed through the follower: {deployed}");
    assert_eq!(live(&one), live(&two));
    assert_eq!(get(pair.one.address(), "/up", "").unwrap().0, 200);
    let shown: Vec<Deployment> = one.json(["history", "--json"]);
    let user = shown[0].requested_by.clone();
    assert!(!user.is_empty() && user != "unknown" && user != "another server", "the requester is recorded: {user}");
    assert!(two.ok(["doctor"]).stdout.contains("one leads"));
    assert!(two.ok(["logs"]).stdout.contains("forwarded.production.blue"));
    pair.end();
}

#[test]
fn deployment_continues_on_another_server_after_kill() {
    let etcd = Etcd::start();
    let mut pair = Pair::start(&etcd, no_peers);
    let app = App::new("continued", Runtime::Process);
    let folder = app.write(pair.shared.path());
    let (one, two) = (pair.one.gapless().within(&folder), pair.two.gapless().within(&folder));
    one.ok(["deploy", "--force"]);

    let address = pair.one.address();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut requests = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = get(address, "/up", "");
                assert!(matches!(answer, Some((200, _))), "request {requests}: {answer:?}");
                requests += 1;
            }
            requests
        });
        app.misbehaving("start-slow=6").write(pair.shared.path());
        one.ok(["deploy", "--force", "--detach"]);
        wait_for("the deployment starts", SOON, || one.run(["status"]).stdout.contains("starting").then_some(()));
        pair.one.kill_server();
        let killed_at = Instant::now();
        wait_for("the other server leads", TAKEOVER, || leads(&pair.two));
        println!("another server leads {:?} after the kill", killed_at.elapsed());
        wait_for("the deployment succeeds", SOON, || {
            let history = two.run(["history"]).stdout;
            assert!(!history.contains("failed"), "{history}");
            (history.matches("succeeded").count() == 2).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        let requests = load.join().unwrap();
        println!("{requests} requests meanwhile, none failed");
    });
    assert_eq!(live(&two).as_deref(), Some("green"));
    // The killed server returns as a follower.
    pair.one.start_server();
    assert_eq!(pair.one.server_info().role, Role::Follower);
    one.ok(["rollback"]);
    assert_eq!(live(&two).as_deref(), Some("blue"));
    pair.end();
}

#[test]
fn paused_leader_is_deposed_and_follows() {
    let etcd = Etcd::start();
    let pair = Pair::start(&etcd, no_peers);
    let folder = App::new("deposed", Runtime::Process).write(pair.shared.path());
    let two = pair.two.gapless().within(&folder);
    two.ok(["deploy", "--force"]);
    pair.one.signal_server(Signal::STOP);
    wait_for("the other server leads", TAKEOVER, || leads(&pair.two));
    two.ok(["deploy", "--force"]);
    pair.one.signal_server(Signal::CONT);
    wait_for("the paused server follows", SOON, || {
        (pair.one.gapless().run(["status"]).code == 0 && pair.one.server_info().role == Role::Follower).then_some(())
    });
    assert!(pair.one.log().contains("; restarting"), "{}", pair.one.log());
    assert_eq!(pair.one.server_info().leader.as_deref(), Some("two"));
    let one = pair.one.gapless().within(&folder);
    one.ok(["deploy", "--force"]);
    assert_eq!(live(&two), live(&one));
    pair.end();
}

#[test]
fn peers_use_tls_and_reject_foreign_certificates() {
    let etcd = Etcd::start();
    let authority = Authority::new();
    let peers = |folder: &Path, port: u16| {
        let [ca, cert, key] = authority.write(folder).map(|file| file.display().to_string());
        format!("[peers]\nlisten = \"127.0.0.1:{port}\"\nca = \"{ca}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    };
    let mut pair = Pair::start(&etcd, peers);
    let folder = App::new("secured", Runtime::Process).write(pair.shared.path());
    let two = pair.two.gapless().within(&folder);
    assert!(two.ok(["deploy", "--force"]).stdout.contains("release 1 is live in blue"));
    // A client with a certificate of another authority is rejected.
    let stranger = Authority::new();
    stranger.write(pair.two.folder());
    std::fs::write(pair.two.folder().join("ca.pem"), &authority.pem).unwrap();
    pair.two.kill_server();
    pair.two.start_server();
    let refused = two.run(["deploy", "--force"]);
    assert!(refused.code != 0 && refused.stderr.contains("one leads"), "{refused:?}");
    assert!(pair.one.log().contains("rejected peer: no certificate signed by the configured CA"), "{}", pair.one.log());
    pair.end();
}

#[test]
fn second_server_of_same_name_refuses_to_start() {
    let etcd = Etcd::start();
    let pair = Pair::start(&etcd, no_peers);
    let mut third = Host::prepared(SocketAddr::from(([127, 0, 0, 1], free_port())));
    let store = format!("[store]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n", etcd.endpoint());
    third.configure(&format!("name = \"two\"\n{store}"));
    third.spawn_server();
    let code = wait_for("the server refuses to start", SOON, || third.server_ended());
    let pid = pair.two.server_info().pid.to_string();
    assert!(
        code == 1 && third.log().contains("another server named two") && third.log().contains(&pid),
        "{}",
        third.log()
    );
    pair.end();
}

#[test]
fn stopped_leader_hands_over_at_once() {
    let etcd = Etcd::start();
    let mut pair = Pair::start(&etcd, no_peers);
    pair.one.signal_server(Signal::TERM);
    let stopped_at = Instant::now();
    wait_for("the other server leads", Duration::from_secs(2), || leads(&pair.two));
    println!("another server leads {:?} after the stop", stopped_at.elapsed());
    assert_eq!(wait_for("the stopped server exits", SOON, || pair.one.server_ended()), 0);
    pair.end();
}

#[test]
fn leader_returns_after_etcd_outage_without_failed_requests() {
    let mut etcd = Etcd::start();
    let pair = Pair::start(&etcd, no_peers);
    let folder = App::new("undisturbed", Runtime::Process).write(pair.shared.path());
    let gaplesses = [pair.one.gapless().within(&folder), pair.two.gapless().within(&folder)];
    gaplesses[0].ok(["deploy", "--force"]);
    etcd.kill();
    let away_since = Instant::now();
    while away_since.elapsed() < Duration::from_secs(6) {
        assert!(matches!(get(pair.one.address(), "/up", ""), Some((200, _))));
    }
    for gapless in &gaplesses {
        let said = gapless.run(["doctor"]);
        assert!(said.code != 0 && format!("{}{}", said.stdout, said.stderr).contains("etcd at"), "{said:?}");
    }
    etcd.start_again();
    wait_for("both servers answer", SOON, || {
        gaplesses.iter().all(|gapless| gapless.run(["status"]).code == 0).then_some(())
    });
    let roles = [&pair.one, &pair.two].map(|host| host.server_info().role);
    assert!(roles.contains(&Role::Leader) && roles.contains(&Role::Follower), "{roles:?}");
    for gapless in &gaplesses {
        gapless.ok(["deploy", "--force"]);
    }
    pair.end();
}

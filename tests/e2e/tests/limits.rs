//! Exhausted resources: ports of instances, ports to instances, and open files.

use gapless_api::ApplicationView;
use gapless_harness::deps::netns::Namespace;
use gapless_harness::{App, Gapless, Host, Load, Runtime, get, wait_for};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The range of ports for processes.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORTS_LEFT: u16 = 30;
const APPS: usize = 25;

/// Failure mode A5.
#[test]
fn deploys_fail_and_live_releases_serve_when_ports_run_out() {
    let _namespace = Namespace::entered("ports");
    let mut taken: Vec<TcpListener> = PORTS
        .skip(usize::from(PORTS_LEFT))
        .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap())
        .collect();
    let host = Host::start();
    let apps: Vec<Gapless> = (0..APPS)
        .map(|index| {
            let app = App {
                hosts: vec![format!("a{index}.test")],
                deploy: "observe = \"0s\"\nkeep_warm = \"5m\"\n".to_owned(),
                ..App::new(&format!("a{index}"), Runtime::Process)
            };
            host.gapless().within(&app.write(host.folder()))
        })
        .collect();
    let deploy_all = || {
        let children: Vec<_> = apps.iter().map(|app| app.spawn(["deploy", "--force"])).collect();
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect::<Vec<_>>()
    };
    let releases = || (0..APPS).map(|index| release_of(&host, &format!("a{index}.test"))).collect::<Vec<_>>();

    // All at once, and each gets its own port.
    let first = deploy_all();
    assert!(first.iter().all(|output| output.status.success()), "{first:?}");
    let views: Vec<ApplicationView> = host.gapless().json(["status", "--json"]);
    let instances = views.iter().flat_map(|view| &view.slots).flat_map(|slot| &slot.instances);
    let addresses: BTreeSet<_> = instances.filter_map(|instance| instance.address).collect();
    assert_eq!(addresses.len(), APPS, "{addresses:?}");
    assert_eq!(releases(), vec![Some(1); APPS]);

    // Five ports are left, since the old instances stay warm: the other deployments fail, and say why.
    let second = deploy_all();
    let failed: Vec<_> = second.iter().filter(|output| !output.status.success()).collect();
    assert_eq!(failed.len(), 2 * APPS - usize::from(PORTS_LEFT), "{second:?}");
    for output in &failed {
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("ports from 20000 to 31999 are taken"), "{said}");
    }
    assert!(releases().iter().all(Option::is_some), "{:?}", releases());

    taken.clear();
    let third = deploy_all();
    assert!(third.iter().all(|output| output.status.success()), "{third:?}");
}

fn release_of(host: &Host, name: &str) -> Option<u64> {
    let (status, text) = get(host.address(), "/", &format!("Host: {name}\r\n"))?;
    let release = text.lines().find_map(|line| line.to_lowercase().strip_prefix("x-release: ")?.trim().parse().ok());
    release.filter(|_| status == 200)
}

/// Failure mode B20.
#[test]
fn proxy_recovers_when_outgoing_ports_run_out() {
    let _namespace = Namespace::entered("outgoing");
    // The setting of the namespace that this thread is in.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40099").unwrap();
    let port = 10_080;
    let mut host = Host::prepared(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    host.start_server();
    let gapless = host.gapless().within(&App::new("narrow", Runtime::Process).write(host.folder()));
    gapless.ok(["deploy"]);
    // Each address of the proxy has its own hundred client ports.
    let mut clients: Vec<TcpStream> = (0..300_u16)
        .map(|index| {
            let address = SocketAddr::from(([127, 0, 0, u8::try_from(index / 75 + 1).unwrap()], port));
            ask(address, "/slow?ms=1500")
        })
        .collect();
    let statuses: Vec<u16> = clients.iter_mut().map(status).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert!(count(200) >= 80, "{statuses:?}");
    // A request that cannot be forwarded is refused: no request hangs, and none is cut off.
    assert!(count(200) < 300 && count(200) + count(502) + count(503) == 300, "{statuses:?}");
    drop(clients);
    // Ports of closed connections are reused after a while (RFC 9293, section 3.4.2); kept connections are used at
    // once.
    wait_for("the proxy recovers", Duration::from_secs(70), || {
        let ten = (0..10)
            .all(|_| get(SocketAddr::from(([127, 0, 0, 9], port)), "/", "").is_some_and(|(status, _)| status == 200));
        ten.then_some(())
    });
}

/// A connection with one request, whose answer is not read yet.
fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    client
}

/// The status of an answer; 0 if there is none.
fn status(client: &mut TcpStream) -> u16 {
    let mut text = String::new();
    let _ = client.read_to_string(&mut text);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Failure mode A21.
#[test]
fn proxy_recovers_when_limited_to_64_open_files() {
    let host = Host::start_by(&["prlimit", "--nofile=64:64"]);
    let gapless = host.gapless().within(&App::new("few-files", Runtime::Process).write(host.folder()));
    gapless.ok(["deploy"]);
    let proxy = host.server_info().planes[0].pid.unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{proxy}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 64 ")), "{limits}");

    // More connections than file descriptors: they wait in the queue of the socket.
    let crowd: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(host.address()).unwrap()).collect();
    let before = ticks(proxy);
    std::thread::sleep(Duration::from_secs(1));
    let busy = ticks(proxy) - before;
    assert!(busy < 50, "accepting spins: {busy} hundredths of a second of processor time in one second");
    // The control plane has its own descriptors.
    gapless.ok(["deploy", "--force"]);
    drop(crowd);

    // A request needs two descriptors: the proxy accepts no connection that it could not answer.
    let mut clients: Vec<TcpStream> = (0..100).map(|_| ask(host.address(), "/slow?ms=100")).collect();
    let statuses: Vec<u16> = clients.iter_mut().map(status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");

    let load = Load::idempotent(host.address(), 100);
    wait_for("requests are answered", Duration::from_secs(20), || (load.requests() > 100).then_some(()));
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}

/// Failure mode A21.
#[test]
fn server_reports_no_instance_dead_when_out_of_files() {
    let host = Host::start();
    let app = App { deploy: "observe = \"6s\"\n".to_owned(), ..App::new("no-files", Runtime::Process) };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let load = Load::idempotent(host.address(), 100);
    let server = Pid::from_raw(i32::try_from(host.server_info().pid).unwrap());
    let deploying = gapless.spawn(["deploy", "--force"]);
    wait_for("the release is observed", Duration::from_secs(20), || {
        let views: Vec<ApplicationView> = gapless.json(["status", "--json"]);
        views.first()?.active.clone().filter(|active| active.phase.name() == "observing")
    });
    // For several health checks, and several inspections of the running processes.
    let few = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(server, Resource::Nofile, few).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    prlimit(server, Resource::Nofile, before).unwrap();
    let deployed = deploying.wait_with_output().unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}

/// Processor time of a process, in hundredths of a second (proc(5): fields 14 and 15 of `stat`).
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

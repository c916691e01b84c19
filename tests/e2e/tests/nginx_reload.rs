//! The effect of nginx's reloads on long connections and old workers, and reloads without an effect.

use gapless_harness::deps::Nginx;
use gapless_harness::{App, Gapless, Host, Runtime, WebSocket, free_port, get, wait_for};
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn app(deploy: &str) -> App {
    App { hosts: vec!["shop.test".to_owned()], deploy: deploy.to_owned(), ..App::new("shop", Runtime::Process) }
}

fn written(host: &Host, app: &App) -> Gapless {
    host.gapless().within(&app.write(host.folder()))
}

fn release(nginx: &Nginx) -> Option<String> {
    let (status, answer) = get(nginx.address(), "/", "Host: shop.test\r\n")?;
    let lines = answer.lines().map(str::to_ascii_lowercase);
    lines.filter_map(|line| line.strip_prefix("x-release: ").map(str::to_owned)).next().filter(|_| status == 200)
}

#[test]
fn websocket_survives_cutover_until_drain_deadline() {
    let nginx = Nginx::start();
    let host = Host::start_configured(&nginx.server_config());
    let gapless = written(&host, &app("observe = \"1s\"\ndrain_timeout = \"4s\"\nkeep_warm = \"0s\"\n"));
    gapless.ok(["deploy"]);
    let mut socket = WebSocket::open(nginx.address(), "shop.test").expect("the connection is upgraded");
    assert_eq!(socket.release(), "1");
    assert!(socket.echoes());
    let mut following = gapless.spawn(["deploy", "--force"]);
    wait_for("new requests go to the new release", DEADLINE, || (release(&nginx)? == "2").then_some(()));
    let cutover = Instant::now();
    assert!(socket.echoes(), "the WebSocket stays with its release");
    // Old workers accept connections until their master has stopped each of them.
    let mut newer = wait_for("new WebSockets go to the new release", DEADLINE, || {
        WebSocket::open(nginx.address(), "shop.test").filter(|socket| socket.release() == "2")
    });
    assert!(newer.echoes());
    let lasted =
        wait_for("the WebSocket ends with its slot", DEADLINE, || (!socket.echoes()).then(|| cutover.elapsed()));
    assert!(lasted >= Duration::from_secs(3), "the WebSocket was cut after only {lasted:?}");
    assert!(newer.echoes());
    assert!(following.wait().unwrap().success());
}

#[test]
fn hundred_reloads_with_websockets_keep_generations_bounded() {
    const GENERATIONS_MAX: usize = 2;
    const WORKERS: usize = 2;
    const RELOADS: usize = 100;
    let nginx = Nginx::prepared();
    nginx.configure_http("", "300ms");
    nginx.run();
    let config = format!("{}worker_generations_max = {GENERATIONS_MAX}\n", nginx.server_config());
    let host = Host::start_configured(&config);
    let gapless = written(&host, &app("observe = \"1s\"\n"));
    gapless.ok(["deploy"]);
    let (is_over, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = nginx.reloads();
    let (most, rss_kib) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // The WebSocket lasts until its worker ends.
                    if let Some(mut socket) = WebSocket::open(nginx.address(), "shop.test") {
                        opened.fetch_add(1, Ordering::Relaxed);
                        while !is_over.load(Ordering::Relaxed) && socket.echoes() {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            });
        }
        let watching = scope.spawn(|| {
            let (mut most, mut rss_kib) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let processes = nginx.processes();
                most = most.max(processes.len());
                rss_kib = rss_kib.max(processes.into_iter().filter_map(resident).sum());
                std::thread::sleep(Duration::from_millis(5));
            }
            (most, rss_kib)
        });
        // Each command changes the application's file, and so needs a reload.
        for at in 0..RELOADS {
            gapless.ok(["maintenance", if at % 2 == 0 { "on" } else { "off" }]);
            wait_for("nginx reloads", DEADLINE, || (nginx.reloads() > before + at).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    assert!(nginx.reloads() >= before + RELOADS);
    assert!(opened.load(Ordering::Relaxed) >= 20, "{opened:?} WebSockets: too few to keep old workers running");
    // The master, the current workers, and those of the permitted generations.
    assert!(most <= 1 + (1 + GENERATIONS_MAX) * WORKERS, "{most} processes at a time");
    assert!(most > 1 + 2 * WORKERS, "{most} processes: no old generation was kept running");
    assert!(rss_kib < 200 << 10, "{rss_kib} KiB");
    eprintln!("{RELOADS} reloads, {opened:?} WebSockets: at most {most} processes of nginx, {} MiB", rss_kib >> 10);
    wait_for("the release answers", DEADLINE, || release(&nginx));
}

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn reload_without_effect_is_detected_and_keeps_live_release() {
    let nginx = Nginx::start();
    let host = Host::start_configured(&nginx.server_config());
    let gapless = written(&host, &app("observe = \"1s\"\nshift_timeout = \"2s\"\n"));
    gapless.ok(["deploy"]);
    // nginx's own test does not bind sockets, so it finds no error.
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let listen = format!("server {{ listen {}; return 200 theirs; }}", taken.local_addr().unwrap());
    nginx.configure_http(&listen, "30s");
    let ran = gapless.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(release(&nginx).as_deref(), Some("1"));
    wait_for("the doctor reports it", DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        (said.contains("did not apply the new configuration") && said.contains("see nginx's error log")).then_some(())
    });
    drop(taken);
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
    assert_ne!(release(&nginx).as_deref(), Some("1"));
    // An unreadable certificate of another server block is found before anything changes.
    let live = release(&nginx);
    let tls = format!(
        "server {{ listen 127.0.0.1:{} ssl; ssl_certificate /nowhere/cert.pem; ssl_certificate_key /nowhere/key.pem; }}",
        free_port()
    );
    nginx.configure_http(&tls, "30s");
    let before = nginx.file("app-shop.production.conf");
    let ran = gapless.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!((release(&nginx), nginx.file("app-shop.production.conf")), (live, before));
    wait_for("the doctor reports it", DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        (said.contains("outside gapless's files") && said.contains("/nowhere/cert.pem")).then_some(())
    });
    nginx.configure_http("", "30s");
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
}

#[test]
fn missing_nginx_program_is_reported_and_changes_nothing() {
    let nginx = Nginx::start();
    let config = nginx.server_config();
    let mut host = Host::start_configured(&config);
    let gapless = written(&host, &app("observe = \"1s\"\nshift_timeout = \"2s\"\n"));
    gapless.ok(["deploy"]);
    host.kill_server();
    host.configure(&format!("{config}binary = \"/nowhere/nginx\"\n"));
    host.start_server();
    let ran = gapless.run(["deploy", "--force"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(release(&nginx).as_deref(), Some("1"));
    wait_for("the doctor reports it", DEADLINE, || {
        let ran = host.gapless().run(["doctor"]);
        format!("{}{}", ran.stdout, ran.stderr).contains("install nginx, or set `binary`").then_some(())
    });
    host.kill_server();
    host.configure(&config);
    host.start_server();
    wait_for("a deployment succeeds", DEADLINE, || (gapless.run(["deploy", "--force"]).code == 0).then_some(()));
}

//! Invalid input and a broken environment: a clear message, a stable exit code, and nothing left behind.

use gapless_api::ApplicationView;
use gapless_harness::{App, CommandResult, Gapless, Host, Runtime};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The user id of `nobody`.
const NOBODY: u32 = 65534;

fn assert_says(ran: &CommandResult, code: i32, words: &[&str]) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("Err("), "{said}");
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("gapless.toml"), text).unwrap();
}

fn applications(gapless: &Gapless) -> Vec<ApplicationView> {
    gapless.json(["status", "--json"])
}

#[test]
fn invalid_configuration_shows_position_and_changes_nothing() {
    let host = Host::start();
    let gapless = host.gapless();
    assert_says(&gapless.run(["deploy"]), 2, &["there is no file gapless.toml", "gapless init"]);
    for (text, words) in [
        ("nmae = \"shop\"\nimage = \"shop:1\"\nport = 1\n", &["nmae", "name", "gapless.toml:1"][..]),
        ("name = \"shop\"\nimage = \"shop:1\"\nport = \"web\"\n", &["port", "gapless.toml:3"]),
        (
            "name = \"shop\"\nimage = \"shop:1\"\nport = 80\n[health]\ninterval = \"fast\"\n",
            &["interval", "fast", "gapless.toml:5"],
        ),
        ("name = \"a/b\"\nimage = \"shop:1\"\nport = 80\n", &["a/b", "gapless.toml:1"]),
        ("name = \"..\"\nimage = \"shop:1\"\nport = 80\n", &["..", "gapless.toml:1"]),
        ("name = \"a\\nb\"\nimage = \"shop:1\"\nport = 80\n", &["gapless.toml:1"]),
    ] {
        write(host.folder(), text);
        assert_says(&gapless.run(["deploy"]), 2, words);
        assert_says(&gapless.run(["validate"]), 2, words);
    }
    write(host.folder(), &format!("name = \"{}\"\nimage = \"shop:1\"\nport = 80\n", "a".repeat(300)));
    assert_says(&gapless.run(["deploy"]), 2, &["63 characters"]);
    assert!(applications(&gapless).is_empty());
}

#[test]
fn hostile_names_in_api_are_refused() {
    let host = Host::start();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = host.socket();
    for path in
        ["/v1/applications/..%2Fx/production", "/v1/applications/a%0Ab/production", "/v1/applications/A/production"]
    {
        let answer =
            tokio.block_on(raw(&socket, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")));
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    for request in [
        "GET /v1/applications/shop/production/deployments/first HTTP/1.1\r\n",
        "GET /v1/applications/shop/production/deployments?limit=all HTTP/1.1\r\n",
        "POST /v1/applications/shop/production/rollback HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1\r\n",
    ] {
        let answer = tokio.block_on(raw(&socket, &format!("{request}Host: x\r\nConnection: close\r\n\r\n{{")));
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("\"code\":\"bad_request\""),
            "{request}: {answer}"
        );
    }
    let body = "{\"spec\": {\"app\": \"../../etc\"}}";
    let request = format!(
        "POST /v1/applications/shop/production/deployments HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = tokio.block_on(raw(&socket, &request));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("application name"), "{answer}");
    assert!(applications(&host.gapless()).is_empty());
}

async fn raw(socket: &Path, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn missing_objects_are_named_in_errors() {
    let host = Host::start();
    let gapless = host.gapless();
    assert_says(&gapless.run(["status", "nosuch"]), 1, &["no application nosuch", "gapless status"]);
    assert_says(&gapless.run(["history", "--app", "nosuch"]), 1, &["no application nosuch"]);
    assert_says(&gapless.run(["rollback", "--app", "nosuch"]), 1, &["no application nosuch"]);
    assert_says(&gapless.run(["rollback"]), 2, &["which application?", "--app"]);
    assert_says(&gapless.run(["rollback", "--app", "a/b"]), 2, &["application name"]);
    assert_says(&gapless.run(["frobnicate"]), 2, &["unrecognized subcommand"]);
    let folder = App::new("there", Runtime::Process).write(host.folder());
    let gapless = gapless.within(&folder);
    gapless.ok(["deploy"]);
    assert_says(&gapless.run(["show", "99"]), 1, &["no deployment 99"]);
    assert_says(&gapless.run(["rollback"]), 1, &["no earlier release"]);
    assert_says(&gapless.run(["rollback", "99"]), 1, &["no release 99"]);
    assert_says(&gapless.run(["rollback", "1"]), 1, &["live already"]);
}

#[test]
fn client_explains_how_to_start_missing_server() {
    let folder = tempfile::tempdir().unwrap();
    let gapless = Gapless::new(&folder.path().join("nobody.sock"), folder.path());
    assert_says(&gapless.run(["status"]), 1, &["no gapless server answers", "gapless server"]);
}

#[test]
fn deploy_fails_before_start_when_image_is_missing() {
    let host = Host::start();
    let folder = App::new("no-image", Runtime::Docker).write(host.folder());
    let gapless = host.gapless().within(&folder);
    gapless.ok(["deploy"]);
    let ran = gapless.run(["deploy", "--image", "localhost:1/nosuch:9"]);
    assert_says(&ran, 1, &["localhost:1/nosuch:9", "release 1 is live"]);
    let view = &applications(&gapless)[0];
    assert_eq!((view.slots.len(), view.slots[0].release), (1, 1));
}

#[test]
fn deploy_fails_when_host_belongs_to_another_application() {
    let host = Host::start();
    let first = App { hosts: vec!["shop.example.com".into()], ..App::new("first", Runtime::Process) };
    let gapless = host.gapless();
    gapless.within(&first.write(host.folder())).ok(["deploy"]);
    for spelling in ["shop.example.com", "SHOP.example.com."] {
        let second = App { hosts: vec![spelling.into()], ..App::new("second", Runtime::Process) };
        let ran = gapless.within(&second.write(host.folder())).run(["deploy"]);
        assert_says(&ran, 2, &["shop.example.com", "belongs to first/production"]);
    }
    assert_eq!(applications(&gapless).len(), 1);
    // Once its owner is removed, the host may be claimed.
    gapless.ok(["remove", "--yes", "--app", "first"]);
    let second = App { hosts: vec!["shop.example.com".into()], ..App::new("second", Runtime::Process) };
    gapless.within(&second.write(host.folder())).ok(["deploy"]);
}

#[test]
fn server_names_holder_when_port_is_taken() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::start();
    // The server cannot listen on a taken port,
    let folder = tempfile::tempdir().unwrap();
    let ran = Gapless::new(&folder.path().join("other.sock"), folder.path()).run([
        "server",
        "--state-dir",
        &folder.path().join("state").display().to_string(),
        "--listen",
        &format!("127.0.0.1:{port}"),
    ]);
    assert_says(&ran, 1, &["cannot listen on", &format!("process {}", std::process::id())]);
    // and neither can an application with fixed ports.
    let fixed = format!("[host_ports]\nblue = {port}\ngreen = {}\n", gapless_harness::free_port());
    let app = App { tables: fixed, ..App::new("fixed", Runtime::Process) };
    let ran = host.gapless().within(&app.write(host.folder())).run(["deploy"]);
    assert_says(&ran, 1, &[&format!("port {port} is taken"), &format!("process {}", std::process::id())]);
}

#[test]
fn deploy_explains_missing_docker_and_processes_still_deploy() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let host = Host::start_by(&["env", &format!("DOCKER_HOST=unix://{}", socket.display())]);
    let docker = host.gapless().within(&App::new("container", Runtime::Docker).write(host.folder()));
    let says = ["Docker cannot be reached", &socket.display().to_string(), "systemctl start docker"];
    assert_says(&docker.run(["deploy"]), 1, &says);
    assert_says(&docker.run(["doctor"]), 1, &says);
    let program = App { hosts: vec!["program.test".into()], ..App::new("program", Runtime::Process) };
    host.gapless().within(&program.write(host.folder())).ok(["deploy"]);

    // A socket file whose listener is gone.
    drop(UnixListener::bind(&socket).unwrap());
    assert_says(&docker.run(["deploy"]), 1, &["nothing answers at", "systemctl start docker"]);
    let live: Vec<_> = applications(&docker).into_iter().filter(|view| !view.slots.is_empty()).collect();
    assert_eq!(live.iter().map(|view| view.app.as_str()).collect::<Vec<_>>(), ["program"]);
}

#[test]
fn deploy_names_docker_group_when_permission_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&socket, Some(NOBODY), None).expect("the test runs as root");
    // Root without the right to open other users' files, since an unprivileged user might not reach the program.
    let without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    let docker = format!("DOCKER_HOST=unix://{}", socket.display());
    let host = Host::start_by(&[&without[..], &["env", &docker]].concat());
    let gapless = host.gapless().within(&App::new("container", Runtime::Docker).write(host.folder()));
    assert_says(&gapless.run(["deploy"]), 1, &["may not open", "group `docker`", "usermod -aG docker"]);
}

#[test]
fn second_server_on_same_state_is_refused() {
    let host = Host::start();
    let state = host.folder().join("state").display().to_string();
    let other = Gapless::new(&host.folder().join("other.sock"), host.folder());
    let ran = other.run(["server", "--state-dir", &state, "--listen", "127.0.0.1:0"]);
    assert_says(&ran, 1, &["state.db"]);
    let same = host.gapless().run(["server", "--state-dir", &state, "--listen", "127.0.0.1:0"]);
    assert_eq!(same.code, 1, "{same:?}");
    assert!(applications(&host.gapless()).is_empty());
}

#[test]
fn init_writes_valid_file_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let gapless = Gapless::new(&folder.path().join("nobody.sock"), folder.path());
    assert_says(&gapless.run(["init", "--name", "shop"]), 0, &["wrote gapless.toml for shop"]);
    assert_says(&gapless.run(["validate"]), 0, &["is valid", "shop"]);
    assert_says(&gapless.run(["init", "--name", "shop"]), 2, &["exists already", "--force"]);
    assert_says(&gapless.run(["init", "--name", "A/b"]), 2, &["application name"]);
}

#[test]
fn newer_deployment_supersedes_queued_one() {
    let host = Host::start();
    let app = App::new("queue", Runtime::Process);
    // Deployment 1 waits for an approval, so it does not end by itself, however slow the machine is.
    let held = App { tables: "[approval]\npeople = 1\n".to_owned(), ..app.clone() };
    let gapless = host.gapless().within(&held.write(host.folder()));
    assert_eq!(gapless.run(["deploy", "--wait", "0s"]).code, 7);
    app.write(host.folder());
    for _ in 2..=3 {
        gapless.ok(["deploy", "--force", "--detach"]);
    }
    assert_says(&gapless.run(["stop"]), 5, &["deployment 1", "gapless abort"]);
    gapless.ok(["approve"]);
    assert_eq!(gapless.run(["show", "3", "--follow"]).code, 0);
    assert_says(&gapless.run(["show", "2"]), 0, &["deployment 3 took its place"]);
    assert_says(&gapless.run(["show", "1"]), 0, &["release 1 is live"]);
}

//! The example application from outside: over HTTP, by signals, and as two processes on one folder.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// A running application; dropping it kills it.
struct App {
    child: Child,
    port: u16,
}

/// A port for one application: the kernel may assign an ephemeral port again before the application has it. Does not
/// listen on the port to see if it is free: a process that another test starts at that moment would inherit the socket
/// and be mistaken for the application. The ports are below those of gapless's processes.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 9_000).unwrap();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl App {
    fn start(folder: &Path, misbehave: &str) -> App {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_bdd-assistant"))
            .env_clear()
            .env("PORT", port.to_string())
            .env("DATA_DIR", folder)
            .env("MISBEHAVE", misbehave)
            .env("GAPLESS_RELEASE", "7")
            .env("GAPLESS_SLOT", "green")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        App { child, port }
    }

    /// Starts the application and waits until it listens.
    fn listening(folder: &Path, misbehave: &str) -> App {
        let app = App::start(folder, misbehave);
        wait_for("the application listens", || TcpStream::connect(("127.0.0.1", app.port)).ok());
        app
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = self.connect();
        let length = body.len();
        // In one write: an early answer is followed by a reset when the rest of the body arrives.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        read(self.send(method, path, headers, body))
    }

    fn create(&self, story: &Value) -> Answer {
        self.ask("POST", "/api/stories", "", &story.to_string())
    }

    fn stories(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask("GET", "/api/stories", "", "").body).unwrap()
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        wait_for("the application ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

fn read(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up_at = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < give_up_at, "timeout: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn story(title: &str) -> Value {
    json!({
        "title": title, "role": "editor", "feature": "drafts", "benefit": "nothing is lost",
        "scenarios": [{ "given": "a draft", "when": "I come back", "then": "it is there" }],
    })
}

#[test]
fn story_is_created_read_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::listening(folder.path(), "");
    let created = app.create(&story("Drafts"));
    assert_eq!(created.status, 201, "{}", created.body);
    let path = created.header("location").unwrap();
    let etag = created.header("etag").unwrap();

    let mut expected = story("Drafts");
    expected["id"] = 1.into();
    expected["version"] = 1.into();
    let shown = app.ask("GET", path, "", "");
    assert_eq!(serde_json::from_str::<Value>(&shown.body).unwrap(), expected);
    assert_eq!(app.stories(), [expected]);

    let seen = format!("If-Match: {etag}\r\n");
    let changed = app.ask("PUT", path, &seen, &story("Better drafts").to_string());
    assert_eq!(changed.status, 200);
    // A client that has not seen that change cannot overwrite or delete the story.
    assert_eq!(app.ask("PUT", path, &seen, &story("Other").to_string()).status, 412);
    assert_eq!(app.ask("DELETE", path, &seen, "").status, 412);
    assert_eq!(app.stories()[0]["title"], "Better drafts");

    let seen = format!("If-Match: {}\r\n", changed.header("etag").unwrap());
    assert_eq!(app.ask("DELETE", path, &seen, "").status, 204);
    for (method, body) in [("GET", String::new()), ("DELETE", String::new()), ("PUT", story("x").to_string())] {
        assert_eq!(app.ask(method, path, "", &body).status, 404, "{method}");
    }
    // Numbers are never reused, so an old link never shows another story.
    assert_eq!(app.create(&story("Next")).header("location"), Some("/api/stories/2"));
}

#[test]
fn invalid_story_is_rejected_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::listening(folder.path(), "");
    let mut long = story("long");
    long["role"] = "x".repeat(2001).into();
    let mut many = story("many");
    many["scenarios"] = vec![json!({ "given": "", "when": "", "then": "" }); 51].into();
    let mut unknown = story("unknown");
    unknown["colour"] = "red".into();
    for (body, why) in [
        (story("   ").to_string(), "needs a title"),
        (story(&"é".repeat(201)).to_string(), "longer than 200"),
        (long.to_string(), "longer than 2000"),
        (many.to_string(), "at most 50"),
        (unknown.to_string(), "colour"),
        ("{\"title\":".to_owned(), "EOF"),
        ("[]".to_owned(), "invalid length"),
    ] {
        let answer = app.ask("POST", "/api/stories", "", &body);
        assert_eq!(answer.status, 422, "{body}");
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(error["error"].as_str().unwrap().contains(why), "{error}");
    }
    let answer = app.ask("DELETE", "/api/stories/1", "If-Match: \"x\"\r\n", "");
    assert_eq!(answer.status, 400);
    assert!(app.stories().is_empty());
}

#[test]
fn two_processes_on_one_folder_lose_no_story() {
    let folder = tempfile::tempdir().unwrap();
    let apps = [App::listening(folder.path(), ""), App::listening(folder.path(), "")];
    std::thread::scope(|scope| {
        for (writer, app) in apps.iter().chain(&apps).enumerate() {
            scope.spawn(move || {
                for number in 0..25 {
                    assert_eq!(app.create(&story(&format!("{writer}-{number}"))).status, 201);
                }
            });
        }
    });
    let [left, right] = apps.each_ref().map(App::stories);
    assert_eq!(left, right);
    let ids: BTreeSet<u64> = left.iter().map(|story| story["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=100).collect());
    let titles: BTreeSet<&str> = left.iter().map(|story| story["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), 100);
}

#[test]
fn sigterm_finishes_requests_and_ends_streams() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = App::listening(folder.path(), "");
    let mut events = app.send("GET", "/events", "", "");
    let mut first = [0_u8; 16];
    events.read_exact(&mut first).unwrap();
    let slow = app.send("GET", "/slow?ms=1000", "", "");
    // Connections are accepted in order, so this answer means that the slow request was accepted.
    assert_eq!(app.ask("GET", "/up", "", "").status, 200);

    app.terminate();
    wait_for("new connections are refused", || {
        TcpStream::connect(("127.0.0.1", app.port))
            .is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
            .then_some(())
    });
    let answer = read(slow);
    assert_eq!((answer.status, answer.body.as_str()), (200, "at last\n"));
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream is incomplete: {rest:?}");
    assert_eq!(app.ended().code(), Some(0));
}

#[test]
fn release_is_in_a_header_and_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::listening(folder.path(), "");
    let page = app.ask("GET", "/", "", "");
    assert_eq!((page.header("x-release"), page.header("x-slot")), (Some("7"), Some("green")));
    assert!(page.body.contains("release 7 · green"), "{}", page.body);
    assert_eq!(app.ask("GET", "/nothing", "", "").header("x-release"), Some("7"));
}

#[test]
fn misbehaviours_work() {
    let folder = tempfile::tempdir().unwrap();
    let status = |misbehave: &str, path: &str| App::listening(folder.path(), misbehave).ask("GET", path, "", "").status;
    assert_eq!(status("never-healthy", "/up"), 500);
    assert_eq!(status("redirect-up", "/up"), 301);
    assert_eq!((status("errors", "/up"), status("errors", "/api/stories")), (200, 500));
    assert_eq!(status("unhealthy-after=0", "/up"), 500);

    let mut app = App::start(folder.path(), "exit-at-start=3");
    assert_eq!(app.ended().code(), Some(3));
    let mut app = App::listening(folder.path(), "exit-after=0:4");
    app.send("GET", "/up", "", "");
    assert_eq!(app.ended().code(), Some(4));

    let mut app = App::start(folder.path(), "fall-over");
    assert_eq!(app.ended().code(), Some(1));
    let mut said = String::new();
    app.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("\"fall-over\" is unknown"), "{said}");
}

#[test]
fn sigterm_and_open_streams_can_be_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::listening(folder.path(), "ignore-sigterm");
    app.terminate();
    assert_eq!(app.ask("GET", "/up", "", "").status, 200);

    let app = App::listening(folder.path(), "hold");
    let mut events = app.send("GET", "/events", "", "");
    app.terminate();
    wait_for("new connections are refused", || TcpStream::connect(("127.0.0.1", app.port)).err());
    let mut piece = [0_u8; 64];
    let mut seen = String::new();
    while !seen.contains("data: 3") {
        let count = events.read(&mut piece).unwrap();
        assert!(count > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
}

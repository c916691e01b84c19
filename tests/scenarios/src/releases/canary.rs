//! A canary of 10 %: its share of many requests, and whether visitors keep their release.

use super::view;
use gapless_core::Phase;
use gapless_harness::{App, Gapless, Host, Outcome, Runtime, wait_for};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const WEIGHT: u8 = 10;
const REQUESTS: usize = 100_000;
const CLIENTS: usize = 8;
const VISITORS: usize = 200;
const VISITS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// Measures the share of a canary, and whether visitors of a sticky canary keep their release.
#[must_use]
pub fn scenario() -> Outcome {
    let host = Host::start();
    let app = App::new("shop", Runtime::Docker);
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let begin = |by: &str| {
        let tables = format!("[strategy]\nby = \"{by}\"\nsteps = [{{ weight = {WEIGHT} }}]\n");
        App { tables, ..app.clone() }.write(host.folder());
        gapless.ok(["deploy", "--force", "--detach"]);
        let release = gapless.latest().release.to_string();
        wait_for_weight(&gapless, WEIGHT);
        release
    };
    let end = || {
        gapless.ok(["abort"]);
        wait_for("the canary is reverted", DEADLINE, || gapless.latest().phase.is_end().then_some(()));
    };

    let release = begin("random");
    let new = drawn(host.address(), &release);
    let share = 100.0 * new as f64 / REQUESTS as f64;
    println!("{new} of {REQUESTS} requests went to the new release: {share:.2} %");
    end();

    begin("sticky");
    let mut visitors: Vec<_> = (0..VISITORS).map(|_| Visitor::default()).collect();
    let mut moved = 0;
    for weight in [WEIGHT, 30, 60, 5] {
        if weight != WEIGHT {
            gapless.ok(["canary", "weight", &weight.to_string()]);
            wait_for_weight(&gapless, weight);
        }
        let mut client = Client::connect(host.address());
        for visitor in &mut visitors {
            moved += (0..VISITS).filter(|_| visitor.has_moved(&mut client)).count();
        }
    }
    println!(
        "{VISITORS} visitors came {} times each, while the weight changed: {moved} got another release",
        VISITS * 4
    );
    end();
    let figures = json!({
        "requests": REQUESTS, "weight": WEIGHT, "share": share, "moved_clients": moved,
        "visitors": VISITORS, "visits": VISITS * 4,
    });
    let moved = (moved > 0).then(|| format!("{moved} visits got the other release though the canary is sticky"));
    let violations = moved.into_iter().collect();
    Outcome { figures, violations }
}

fn wait_for_weight(gapless: &Gapless, weight: u8) {
    wait_for("the canary has its weight", DEADLINE, || {
        let view = view(gapless);
        let active = view.active?;
        let is_applied = view.planes_behind.is_empty() && active.phase == Phase::Canary;
        (is_applied && active.canary?.weight == weight).then_some(())
    });
}

/// The number of requests that the new release answers.
fn drawn(address: SocketAddr, release: &str) -> usize {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    (0..REQUESTS / CLIENTS).filter(|_| client.get("").release == release).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("the client thread ends")).sum()
    })
}

/// A visitor with a browser, which keeps its cookie.
#[derive(Default)]
struct Visitor {
    cookie: Option<String>,
    release: Option<String>,
}

impl Visitor {
    fn has_moved(&mut self, client: &mut Client) -> bool {
        let header = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let answer = client.get(&header);
        if answer.cookie.is_some() {
            self.cookie = answer.cookie;
        }
        let before = self.release.replace(answer.release.clone());
        before.is_some_and(|before| before != answer.release)
    }
}

/// A kept connection.
struct Client(BufReader<TcpStream>);

struct Answer {
    release: String,
    cookie: Option<String>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a socket can be set up");
        Client(BufReader::new(stream))
    }

    fn get(&mut self, headers: &str) -> Answer {
        let request = format!("GET /up HTTP/1.1\r\nHost: shop\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("the request can be sent");
        let (mut length, mut release, mut cookie) = (0, String::new(), None);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("the request is answered");
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name {
                "content-length" => length = value.parse().expect("the header is a length"),
                "x-release" => value.clone_into(&mut release),
                "set-cookie" => cookie = value.split(';').next().map(str::to_owned),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the answer is whole");
        Answer { release, cookie }
    }
}

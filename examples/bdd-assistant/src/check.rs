//! `bdd-assistant check`: a smoke test for a gate. Requests the tested release, whose address gapless sets in the
//! environment, and reports as JUnit XML. `bdd-assistant check URL`, for a hook after the cutover, requests that URL
//! instead, such as a proxy in front of gapless's, and waits a moment until it serves the new release.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Runs all checks; the error names the failures.
pub fn run() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let in_front = std::env::args().nth(2);
    let release = variable("GAPLESS_RELEASE");
    let url = in_front.clone().unwrap_or_else(|| variable("GAPLESS_URL"));
    let give_up_at = Instant::now() + if in_front.is_some() { DEADLINE } else { Duration::ZERO };
    let results = loop {
        let results = all(&url, &release);
        if results.iter().all(|(_, result)| result.is_ok()) || Instant::now() >= give_up_at {
            break results;
        }
        std::thread::sleep(POLL);
    };
    let mut report = String::from("<?xml version=\"1.0\"?>\n<testsuite name=\"check\">\n");
    for (name, result) in &results {
        match result {
            Ok(()) => report.push_str(&format!("  <testcase name=\"{name}\"/>\n")),
            Err(why) => {
                println!("{name}: {why}");
                report.push_str(&format!("  <testcase name=\"{name}\"><failure/></testcase>\n"));
            }
        }
    }
    report.push_str("</testsuite>\n");
    let folder = variable("GAPLESS_RESULTS");
    if !folder.is_empty() {
        std::fs::write(format!("{folder}/check.xml"), report).map_err(|error| format!("{folder}: {error}"))?;
    }
    let failures = results.iter().filter(|(_, result)| result.is_err()).count();
    if failures > 0 { Err(format!("{failures} checks failed")) } else { Ok(()) }
}

/// Each check by name, with its result.
fn all(url: &str, release: &str) -> [(&'static str, Result<(), String>); 3] {
    [
        ("server is up", check(url, "/up", "up\n", release)),
        ("API lists stories", check(url, "/api/stories", "[", release)),
        ("page names the release", check(url, "/", &format!("release {release} "), release)),
    ]
}

fn check(url: &str, path: &str, expected: &str, release: &str) -> Result<(), String> {
    let answer = get(url, path)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("answered {}", head.lines().next().unwrap_or_default()));
    }
    if !head.lines().any(|line| line == format!("x-release: {release}")) {
        return Err(format!("another release than {release} answered"));
    }
    if !body.contains(expected) {
        return Err(format!("{expected:?} is missing"));
    }
    Ok(())
}

fn get(url: &str, path: &str) -> Result<String, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let address = url.strip_prefix("http://").ok_or("GAPLESS_URL is not set")?;
    let host = match variable("GAPLESS_HOST") {
        host if host.is_empty() => address.to_owned(),
        host => host,
    };
    let header = variable("GAPLESS_HEADER");
    let mut stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(|error| error.to_string())?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

//! `bdd-assistant check`: its own smoke test, for a gate. It asks the release that is tested, by what gapless tells it in
//! its environment, and reports as JUnit XML.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(5);

/// Carries out all checks; what went wrong, if something did.
pub fn run() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let release = variable("GAPLESS_RELEASE");
    let cases: [(&str, &str, String); 3] = [
        ("it is up", "/up", "up\n".to_owned()),
        ("it lists stories", "/api/stories", "[".to_owned()),
        ("its page names its release", "/", format!("release {release} ")),
    ];
    let mut report = String::from("<?xml version=\"1.0\"?>\n<testsuite name=\"check\">\n");
    let mut failures = 0;
    for (name, path, expected) in cases {
        match check(path, &expected, &release) {
            Ok(()) => report.push_str(&format!("  <testcase name=\"{name}\"/>\n")),
            Err(why) => {
                failures += 1;
                println!("{name}: {why}");
                report.push_str(&format!("  <testcase name=\"{name}\"><failure/></testcase>\n"));
            }
        }
    }
    report.push_str("</testsuite>\n");
    let results = variable("GAPLESS_RESULTS");
    if !results.is_empty() {
        std::fs::write(format!("{results}/check.xml"), report).map_err(|error| format!("{results}: {error}"))?;
    }
    if failures > 0 { Err(format!("{failures} checks failed")) } else { Ok(()) }
}

fn check(path: &str, expected: &str, release: &str) -> Result<(), String> {
    let answer = get(path)?;
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

fn get(path: &str) -> Result<String, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let url = variable("GAPLESS_URL");
    let address = url.strip_prefix("http://").ok_or("GAPLESS_URL is not there")?;
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

//! The program under test of the conformance suite: listens on `$PORT`, prints a line, and misbehaves as its
//! environment says. Built without dependencies, so that it links statically into a small image.

#![allow(clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// The name server of Docker's networks.
const NAME_SERVER: &str = "127.0.0.11:53";

fn main() {
    println!("probe started");
    let _ = std::io::stdout().flush();
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if is_set("FORK") {
        // A child in a new session that outlives its parent: to the supervisor this looks like a double fork.
        let program = std::env::current_exe().expect("it has a path");
        let child = std::process::Command::new(program).env_remove("FORK").env("STAY", "1").env("PORT", "0").spawn();
        drop(child.expect("it can be started"));
    }
    if is_set("EXIT") {
        std::thread::sleep(Duration::from_millis(100));
        std::process::exit(7);
    }
    if is_set("HOARD") {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![1_u8; 4 << 20]);
        }
    }
    for number in 0..std::env::var("LINES").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) {
        println!("line {number} {}", "x".repeat(80));
    }
    if is_set("SHOW") {
        std::env::vars().for_each(|(name, value)| println!("{name}={value}"));
        println!("directory={}", std::env::current_dir().expect("it has one").display());
    }
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(9000_u16);
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("it can listen");
    for mut stream in listener.incoming().flatten() {
        // Each client gets this instance's name, or the name that the sibling service answers.
        let name = match std::env::var("ASK") {
            Ok(peer) => ask(&peer).unwrap_or_else(|| "nobody".to_owned()),
            Err(_) => std::env::var("GAPLESS_INSTANCE").unwrap_or_default(),
        };
        let _ = stream.write_all(name.as_bytes());
    }
}

/// The answer of an instance of the sibling service.
fn ask(peer: &str) -> Option<String> {
    let known = std::env::var(format!("GAPLESS_SERVICE_{peer}")).ok()?;
    let address = known.parse().ok().or_else(|| {
        let (host, port) = known.split_once(':')?;
        Some(SocketAddr::from((resolve(host)?, port.parse().ok()?)))
    })?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Resolves a host name (RFC 1035, section 4): a statically linked program has no resolver.
fn resolve(host: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(host.len()).ok()?];
    query.extend(host.bytes());
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, NAME_SERVER).ok()?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    let address: [u8; 4] = answer[..length].last_chunk().copied()?;
    (answer[7] > 0).then(|| Ipv4Addr::from(address))
}

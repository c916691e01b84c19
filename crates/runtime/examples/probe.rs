//! What the conformance suite runs: listens on `$PORT`, prints a line, and misbehaves as it is told by its environment.
//! It is built without dependencies, so that it can be linked statically into an image of its own.

#![allow(clippy::expect_used)]

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

fn main() {
    println!("it begins");
    let _ = std::io::stdout().flush();
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if is_set("FORK") {
        // A child in a session of its own that outlives its parent: what double-forks looks like this to its supervisor.
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
    for stream in listener.incoming() {
        drop(stream);
    }
}

//! A data plane by itself, for measuring: `standalone --listen ADDRESS --table FILE --control SOCKET [--workers N]`.

use gapless_proxy::{Limits, ProxyConfig, run};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut config = ProxyConfig {
        listen: Vec::new(),
        inherited: Vec::new(),
        control_socket: PathBuf::from("proxy.sock"),
        table_file: PathBuf::from("table.json"),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        replace: false,
        limits: Limits::default(),
    };
    let mut arguments = std::env::args().skip(1).peekable();
    // Called as the command line's own program is, too.
    arguments.next_if(|argument| argument == "proxy");
    while let Some(name) = arguments.next() {
        let Some(value) = arguments.next() else {
            eprintln!("{name} needs a value");
            return ExitCode::from(2);
        };
        let is_understood = match name.as_str() {
            "--listen" => value.parse().map(|address| config.listen.push(address)).is_ok(),
            "--workers" => value.parse().map(|workers| config.workers = workers).is_ok(),
            "--table" => {
                config.table_file = PathBuf::from(&value);
                true
            }
            "--control" => {
                config.control_socket = PathBuf::from(&value);
                true
            }
            _ => false,
        };
        if !is_understood {
            eprintln!("{name} {value} is not understood");
            return ExitCode::from(2);
        }
    }
    // An upgrade starts it again; with --replace that would be a successor, which a benchmark has no need of.
    let successor = std::process::Command::new("/bin/false");
    match run(config, successor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

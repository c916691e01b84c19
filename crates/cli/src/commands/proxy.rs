//! `gapless proxy`: runs the data plane.

use crate::args::Proxy;
use crate::exit::Failure;
use crate::present::log;
use crate::supervised::{self, ProcessStatus};
use gapless_proxy::control::Client;
use gapless_proxy::{Limits, ProxyConfig};
use listenfd::ListenFd;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

pub fn run(args: Proxy) -> Result<ExitCode, Failure> {
    log::start(false);
    let workers =
        args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let config = ProxyConfig {
        listen: args.listen,
        inherited: inherited()?.into_iter().map(Arc::new).collect(),
        control_socket: args.control_socket,
        table_file: args.table_file,
        workers,
        replace: args.replace,
        limits: Limits::default(),
    };
    let socket = config.control_socket.clone();
    supervised::start(move || own_status(socket.clone()));
    gapless_proxy::run(config, successor(std::env::current_exe().map_err(Failure::other)?)).map_err(Failure::other)?;
    Ok(ExitCode::SUCCESS)
}

/// The command for this process's successor: the program then at the same path, with the same arguments.
fn successor(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    let is_replace = |argument: &OsString| argument == "--replace";
    command.args(std::env::args_os().skip(1).filter(|argument| !is_replace(argument))).arg("--replace");
    // The successor receives these sockets from this process.
    command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
    command
}

/// The listening sockets that systemd passes (sd_listen_fds(3)).
fn inherited() -> Result<Vec<TcpListener>, Failure> {
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    let take = |at| match passed.take_tcp_listener(at) {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => Err(Failure::other("a socket that systemd passed has already been used")),
        Err(error) => Err(Failure::usage(format!(
            "a socket that systemd passed is no listening TCP socket ({error}); correct ListenStream in the socket unit"
        ))),
    };
    (0..count).map(take).collect()
}

/// The status of this process, as it answers on its control socket.
async fn own_status(socket: PathBuf) -> Option<ProcessStatus> {
    let status = Client::new(socket).status().await.ok().filter(|status| status.pid == std::process::id())?;
    let in_flight: u64 = status.placements.values().map(|placement| placement.in_flight).sum();
    let state = if status.stopping { "ending" } else { "serving" };
    let (version, connections) = (status.applied_version, status.connections);
    let line = format!("{state}; table {version}, {connections} connections, {in_flight} requests in flight");
    Some(ProcessStatus { status: line, is_ending: status.stopping })
}

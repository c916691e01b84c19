//! `gapless`: one binary that is the client, the control plane and the data plane.

/// Measured: a sixth less processor time for a proxied request than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod args;
mod commands;
mod exit;
mod present;
mod which;

use args::{Cli, Command};
use clap::Parser;
use exit::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::with_double_dashes(std::env::args_os()));
    match run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let socket = cli.socket.unwrap_or_else(present::default_socket);
    match cli.command {
        // What needs no server, and processes of their own kind: the proxy makes its own runtimes, the shim needs none.
        Command::Init(args) => commands::init::run(&args),
        Command::Validate(args) => commands::validate::run(&args),
        Command::Schema => commands::describe::schema(),
        Command::Openapi => commands::describe::openapi(),
        Command::Completions { shell } => commands::describe::completions(shell),
        Command::Man { folder } => commands::describe::man(&folder),
        Command::Proxy(args) => commands::proxy::run(args),
        Command::Render(args) => commands::render::run(*args, socket),
        Command::Shim { folder } => Ok(commands::shim::run(&folder)),
        Command::Server(args) => {
            let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            tokio.map_err(Failure::other)?.block_on(commands::server::run(args, socket))
        }
        command => {
            let client = gapless_api::Client::new(socket);
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
            tokio.map_err(Failure::other)?.block_on(commands::ask(command, &client))
        }
    }
}

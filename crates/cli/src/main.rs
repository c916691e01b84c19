//! `gapless`: one binary that is the client, the control plane and the data plane.

/// Measured: a sixth less processor time for a proxied request than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod args;
mod commands;
mod exit;
mod present;
mod supervised;
mod target;

use args::{Cli, Command, Local};
use clap::Parser;
use exit::Failure;
use gapless_effect::{Point, step};
use listenfd::ListenFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = std::env::args_os();
    #[cfg(feature = "render")]
    let arguments = args::with_double_dashes(arguments);
    let cli = Cli::parse_from(arguments);
    match run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Local(command) => local(command, cli.socket),
        Command::Remote(command) => {
            let client = gapless_api::Client::new(cli.socket.unwrap_or_else(present::default_socket));
            block_on(commands::ask(command, &client))
        }
    }
}

/// Carries out a command without a server. The server, the proxy and the shim create their own async runtimes.
fn local(command: Local, socket: Option<PathBuf>) -> Result<ExitCode, Failure> {
    match command {
        Local::Init(args) => commands::init::run(&args),
        Local::Validate(args) => commands::validate::run(&args),
        Local::Schema => commands::describe::schema(),
        Local::Openapi => commands::describe::openapi(),
        Local::Completions { shell } => commands::describe::completions(shell),
        Local::Man { folder } => commands::describe::man(&folder),
        #[cfg(feature = "render")]
        Local::Render(args) => commands::render::run(*args, socket.unwrap_or_else(present::default_socket)),
        Local::Store(args) => block_on(commands::store::run(args, socket)),
        Local::Install(args) => block_on(commands::install::run(args)),
        Local::Server(args) => serve(args, socket),
        Local::Proxy(args) => commands::proxy::run(args),
        Local::Shim { folder } => Ok(commands::shim::run(&folder)),
        #[cfg(feature = "failpoints")]
        Local::Failpoints => commands::describe::failpoints(),
    }
}

fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio.map_err(Failure::other)?.block_on(command)
}

/// The largest number of threads for file access. Each costs one or two megabytes; a server that starts beside 200
/// applications reads files of all of them at the same time.
const FILE_THREADS_MAX: usize = 32;
/// The time limit for the server's last tasks when it ends.
const SERVER_ENDS_WITHIN: Duration = Duration::from_secs(1);

fn serve(args: args::Server, socket: Option<PathBuf>) -> Result<ExitCode, Failure> {
    // Before any other thread starts: this changes the environment.
    let inherited = ListenFd::from_env().take_unix_listener(0).ok().flatten();
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    let tokio = tokio.worker_threads(2).max_blocking_threads(FILE_THREADS_MAX).enable_all().build();
    let tokio = tokio.map_err(Failure::other)?;
    // The path of the program, where an upgrade may have put another version by the time of a restart.
    let program = std::env::current_exe().map_err(Failure::other)?;
    let handed_on = tokio.block_on(commands::server::run(args, socket, inherited))?;
    tokio.shutdown_timeout(SERVER_ENDS_WITHIN);
    let Some(socket) = handed_on else { return Ok(ExitCode::SUCCESS) };
    // Replaces this process image; only the API's socket is passed on, so that waiting clients stay connected.
    let mut successor = std::process::Command::new(program);
    successor.args(std::env::args_os().skip(1));
    if let Err(error) = socket.hand_on(&mut successor) {
        tracing::warn!(%error, "passing on the API's socket failed; the restarted server opens it again");
    }
    step(Point::ServerExec, || Err(successor.exec())).map_err(Failure::other)
}

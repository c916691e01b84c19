//! `gapless`: one binary that is the client, the control plane and the data plane.

/// Measured: a sixth less processor time for a proxied request than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod args;
mod commands;
mod exit;
mod present;
mod supervised;
mod which;

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

/// Carries out a command without a server. The server, the proxy and the shim make runtimes of their own.
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

/// Threads for files at most. Each costs a megabyte or two, and a server that starts beside 200 applications has something
/// to read of all of them at once.
const FILE_THREADS_MAX: usize = 32;
/// How long what a server was doing has to end when it ends.
const SERVER_ENDS_WITHIN: Duration = Duration::from_secs(1);

fn serve(args: args::Server, socket: Option<PathBuf>) -> Result<ExitCode, Failure> {
    // Before there is another thread: it is taken out of the environment.
    let inherited = ListenFd::from_env().take_unix_listener(0).ok().flatten();
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    let tokio = tokio.worker_threads(2).max_blocking_threads(FILE_THREADS_MAX).enable_all().build();
    let tokio = tokio.map_err(Failure::other)?;
    // By its path from now on, at which another version may be when it begins anew.
    let program = std::env::current_exe().map_err(Failure::other)?;
    let handed_on = tokio.block_on(commands::server::run(args, socket, inherited))?;
    tokio.shutdown_timeout(SERVER_ENDS_WITHIN);
    let Some(socket) = handed_on else { return Ok(ExitCode::SUCCESS) };
    // The same process with nothing in it of what it was doing, but for the socket at which whoever comes waits.
    let mut anew = std::process::Command::new(program);
    anew.args(std::env::args_os().skip(1));
    if let Err(error) = socket.hand_on(&mut anew) {
        tracing::warn!(%error, "the API's socket cannot be handed on; it is opened anew");
    }
    step(Point::ServerExec, || Err(anew.exec())).map_err(Failure::other)
}

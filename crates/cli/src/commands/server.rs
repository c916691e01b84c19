//! `gapless server`: the control plane.

use crate::args::Server;
use crate::exit::Failure;
use crate::present::{default_state_dir, log};
use gapless_server::ServerConfig;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

pub async fn run(args: Server, socket: PathBuf) -> Result<ExitCode, Failure> {
    log::begin(args.log_json);
    let program = std::env::current_exe().map_err(Failure::other)?;
    let state_dir = args.state_dir.unwrap_or_else(default_state_dir);
    let config = ServerConfig { state_dir, socket, listen: args.listen, program };
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    gapless_server::run(config, || {}, stop).await.map_err(Failure::other)?;
    Ok(ExitCode::SUCCESS)
}

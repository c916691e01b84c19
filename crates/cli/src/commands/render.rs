//! `gapless render`: renders files from templates and keys, as confd does. Only the backend gapless needs a server.

use crate::args::Render;
use crate::exit::Failure;
use crate::present::log;
use gapless_render::{Backend, Mode, Options};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

/// The time limit for a rendering in progress after a signal to stop: a file is replaced at once or not at all.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

pub fn run(args: Render, socket: PathBuf) -> Result<ExitCode, Failure> {
    let file = args.config_file.clone();
    let file = Options::of_file(file.as_deref()).map_err(Failure::other)?;
    let options = args.options().over(file).with_environment(|name| std::env::var(name).ok());
    match options.log_level.as_deref() {
        None | Some("") => log::start(false),
        Some(level) => log::start_at(level_of(level)?),
    }
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let tokio = tokio.map_err(Failure::other)?;
    let done = tokio.block_on(render(options, socket));
    tokio.shutdown_timeout(STOP_DEADLINE);
    done
}

async fn render(options: Options, socket: PathBuf) -> Result<ExitCode, Failure> {
    let plan = options.plan(socket).map_err(Failure::other)?;
    let backend = Backend::new(plan.backend).await.map_err(Failure::other)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let work = async {
        match plan.mode {
            Mode::Once => {
                let tally = gapless_render::once(&plan.job, &backend).await.map_err(Failure::other)?;
                Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Mode::Interval(interval) => {
                gapless_render::at_intervals(&plan.job, &backend, interval).await;
                Ok(ExitCode::SUCCESS)
            }
            Mode::Watch(interval) => {
                gapless_render::watching(&plan.job, &backend, interval).await.map_err(Failure::other)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    };
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
    }
}

/// The level with confd's name `name`.
fn level_of(name: &str) -> Result<LevelFilter, Failure> {
    match name {
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "error" | "fatal" | "panic" => Ok(LevelFilter::ERROR),
        other => Err(Failure::usage(format!("log level {other:?} is not one of debug, info, warn, error and panic"))),
    }
}

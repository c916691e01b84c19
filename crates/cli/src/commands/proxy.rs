//! `gapless proxy`: the data plane, a process of its own.

use crate::args::Proxy;
use crate::exit::Failure;
use crate::present::log;
use gapless_proxy::{Limits, ProxyConfig};
use std::process::ExitCode;

pub fn run(args: Proxy) -> Result<ExitCode, Failure> {
    log::begin(false);
    let workers =
        args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let config = ProxyConfig {
        listen: args.listen,
        control_socket: args.control_socket,
        table_file: args.table_file,
        workers,
        replace: args.replace,
        limits: Limits::default(),
    };
    gapless_proxy::run(config).map_err(Failure::other)?;
    Ok(ExitCode::SUCCESS)
}

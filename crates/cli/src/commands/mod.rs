//! The commands, a file each.

pub mod abort;
pub mod approve;
pub mod canary;
pub mod deploy;
pub mod describe;
pub mod doctor;
pub mod history;
pub mod init;
pub mod install;
pub mod kv;
pub mod logs;
pub mod maintenance;
pub mod plan;
pub mod promote;
pub mod proxy;
pub mod remove;
pub mod render;
pub mod rollback;
pub mod server;
pub mod shim;
pub mod show;
pub mod start_stop;
pub mod status;
pub mod store;
pub mod upgrade;
pub mod validate;

use crate::args::Command;
use crate::exit::Failure;
use gapless_api::Client;
use std::process::ExitCode;

/// Carries out a command that asks a server.
pub async fn ask(command: Command, client: &Client) -> Result<ExitCode, Failure> {
    match command {
        Command::Plan(args) => plan::run(args, client).await,
        Command::Deploy(args) => deploy::run(args, client).await,
        Command::Promote(args) => promote::run(args, client).await,
        Command::Canary(args) => canary::run(args, client).await,
        Command::Approve(args) => approve::approve(args, client).await,
        Command::Reject(args) => approve::reject(args, client).await,
        Command::Status(args) => status::run(args, client).await,
        Command::History(args) => history::run(args, client).await,
        Command::Show(args) => show::run(args, client).await,
        Command::Logs(args) => logs::run(args, client).await,
        Command::Rollback(args) => rollback::run(args, client).await,
        Command::Abort(args) => abort::run(args, client).await,
        Command::Stop(args) => start_stop::stop(args, client).await,
        Command::Start(args) => start_stop::start(args, client).await,
        Command::Maintenance(args) => maintenance::run(args, client).await,
        Command::Remove(args) => remove::run(args, client).await,
        Command::Kv(args) => kv::run(args, client).await,
        Command::Upgrade(args) => upgrade::run(args, client).await,
        Command::Doctor { json } => doctor::run(json, client).await,
        // Carried out before, without a server.
        Command::Init(_)
        | Command::Validate(_)
        | Command::Schema
        | Command::Openapi
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Proxy(_)
        | Command::Render(_)
        | Command::Shim { .. }
        | Command::Store(_)
        | Command::Install(_)
        | Command::Server(_) => Ok(ExitCode::SUCCESS),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => Ok(ExitCode::SUCCESS),
    }
}

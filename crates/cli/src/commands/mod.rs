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
#[cfg(feature = "render")]
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

use crate::args::Remote;
use crate::exit::Failure;
use gapless_api::Client;
use std::process::ExitCode;

/// Carries out a command of a running server.
pub async fn ask(command: Remote, client: &Client) -> Result<ExitCode, Failure> {
    match command {
        Remote::Plan(args) => plan::run(args, client).await,
        Remote::Deploy(args) => deploy::run(args, client).await,
        Remote::Promote(args) => promote::run(args, client).await,
        Remote::Canary(args) => canary::run(args, client).await,
        Remote::Approve(args) => approve::approve(args, client).await,
        Remote::Reject(args) => approve::reject(args, client).await,
        Remote::Status(args) => status::run(args, client).await,
        Remote::History(args) => history::run(args, client).await,
        Remote::Show(args) => show::run(args, client).await,
        Remote::Logs(args) => logs::run(args, client).await,
        Remote::Rollback(args) => rollback::run(args, client).await,
        Remote::Abort(args) => abort::run(args, client).await,
        Remote::Stop(args) => start_stop::stop(args, client).await,
        Remote::Start(args) => start_stop::start(args, client).await,
        Remote::Maintenance(args) => maintenance::run(args, client).await,
        Remote::Remove(args) => remove::run(args, client).await,
        Remote::Kv(args) => kv::run(args, client).await,
        Remote::Upgrade(args) => upgrade::run(args, client).await,
        Remote::Doctor { json } => doctor::run(json, client).await,
    }
}

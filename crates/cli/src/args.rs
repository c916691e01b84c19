//! Every command and flag, each with its help text. Help, completions and man pages are derived from these definitions.

mod host;
mod local;
mod remote;
#[cfg(feature = "render")]
mod render;

pub use host::{Install, Proxy, Role, Server, Store, StoreCommand, Upgrade};
pub use local::*;
pub use remote::*;
#[cfg(feature = "render")]
pub use render::{Render, with_double_dashes};

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Zero-downtime, blue-green continuous deployment.
#[derive(Debug, Parser)]
#[command(name = "gapless", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The server's socket [default: /run/gapless/gapless.sock, or below $XDG_RUNTIME_DIR when not root]
    #[arg(long, global = true, env = "GAPLESS_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not healthy, 4 a gate \
failed, 5 another deployment is in progress, 6 reverted after its cutover, 7 an approval is pending or was refused.";

/// A command, by the process that carries it out. A command without a dispatch does not compile.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carried out by this process.
    #[command(flatten)]
    Local(Local),
    /// Carried out by a running server.
    #[command(flatten)]
    Remote(Remote),
}

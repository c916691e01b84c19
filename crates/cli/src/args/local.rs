//! Commands that need no running server: they read files, print text, or are a server, a proxy or a host's own tool.

use super::host::{Install, Proxy, Server, Store};
#[cfg(feature = "render")]
use super::render::Render;
use crate::which::File;
use clap::{Args, Subcommand, ValueEnum};
use gapless_core::AppName;
use std::path::PathBuf;

/// Commands that need no running server.
#[derive(Debug, Subcommand)]
pub enum Local {
    /// Write a commented gapless.toml to begin with
    #[command(display_order = 0)]
    Init(Init),
    /// Check gapless.toml without deploying it
    #[command(display_order = 1)]
    Validate(File),
    /// Move everything that is recorded into a file, or from it into another store: the backup
    #[command(display_order = 102)]
    Store(Store),
    #[cfg(feature = "render")]
    /// Keep files up to date from templates and keys, with confd's own files and flags
    #[command(display_order = 103)]
    Render(Box<Render>),
    /// Have systemd run the control plane and the data plane, now and at boot
    #[command(display_order = 104)]
    Install(Install),
    /// Run the control plane
    #[command(display_order = 105)]
    Server(Server),
    /// Run the data plane (the server does it for you)
    #[command(display_order = 106)]
    Proxy(Proxy),
    /// Print the JSON Schema of gapless.toml, for editors
    #[command(display_order = 107)]
    Schema,
    /// Print the OpenAPI description of the server's API
    #[command(display_order = 108)]
    Openapi,
    /// Print completions for a shell
    #[command(display_order = 109)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    #[command(display_order = 110)]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// List the places at which this build can be made to fail, as JSON
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    #[command(display_order = 111)]
    Failpoints,
    /// Supervise one process instance (the server does it for you)
    #[command(hide = true)]
    #[command(display_order = 112)]
    Shim {
        /// The folder of the instance
        folder: PathBuf,
    },
}

/// What `gapless init` needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// The application's name [default: the name of this folder]
    #[arg(long)]
    pub name: Option<AppName>,
    /// What runs it
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    pub runtime: Runtime,
    /// Where to write it
    #[arg(short = 'c', long = "config", default_value = "gapless.toml", value_name = "FILE")]
    pub file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// What runs an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Containers
    Docker,
    /// Processes of this host
    Process,
}

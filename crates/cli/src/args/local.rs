//! Commands that need no running server: they read files, print text, or run a server, a proxy or a tool of the host.

use super::host::{Install, Proxy, Server, Store};
#[cfg(feature = "render")]
use super::render::Render;
use crate::target::File;
use clap::{Args, Subcommand, ValueEnum};
use gapless_core::AppName;
use std::path::PathBuf;

/// Commands that need no running server.
#[derive(Debug, Subcommand)]
pub enum Local {
    /// Write a commented gapless.toml to start from
    #[command(display_order = 0)]
    Init(Init),
    /// Check gapless.toml without deploying it
    #[command(display_order = 1)]
    Validate(File),
    /// Back up all records into a file, or restore them from a file into a store
    #[command(display_order = 102)]
    Store(Store),
    #[cfg(feature = "render")]
    /// Keep files up to date from templates and keys, with confd's own files and flags
    #[command(display_order = 103)]
    Render(Box<Render>),
    /// Install systemd units for the control plane and the data plane, and start them
    #[command(display_order = 104)]
    Install(Install),
    /// Run the control plane
    #[command(display_order = 105)]
    Server(Server),
    /// Run the data plane (the server starts it for you)
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
    /// Write man pages to a folder
    #[command(display_order = 110)]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// List the failpoints of this build, as JSON
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    #[command(display_order = 111)]
    Failpoints,
    /// Supervise one process instance (the server starts it for you)
    #[command(hide = true)]
    #[command(display_order = 112)]
    Shim {
        /// The folder of the instance
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Init {
    /// The application's name [default: the name of this folder]
    #[arg(long)]
    pub name: Option<AppName>,
    /// The runtime of the application
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    pub runtime: Runtime,
    /// The file to write
    #[arg(short = 'c', long = "config", default_value = "gapless.toml", value_name = "FILE")]
    pub file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// A runtime that `gapless init` has a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Containers
    Docker,
    /// Processes on this host
    Process,
}

//! Every command and flag: defined, documented and parsed here, and nowhere else. Help, completions and man pages are
//! derived from it.

mod host;
mod render;

pub use host::{Install, Proxy, Role, Server, Store, StoreCommand, Upgrade};
pub use render::{Render, with_double_dashes};

use crate::which::{App, File, NamedApp, Wanted};
use clap::{Args, Parser, Subcommand, ValueEnum};
use gapless_core::{AppName, EnvName, Millis, ServiceName, Slot};
use std::path::PathBuf;

/// Zero-downtime, blue-green continuous deployment.
#[derive(Debug, Parser)]
#[command(name = "gapless", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The server's socket [default: /run/gapless/gapless.sock, or below $XDG_RUNTIME_DIR when not root]
    #[arg(long, global = true, env = "GAPLESS_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not healthy, 4 a gate \
failed, 5 another deployment is in the way, 6 taken back after its cutover, 7 an approval is pending or was refused.";

/// What gapless can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented gapless.toml to begin with
    Init(Init),
    /// Check gapless.toml without deploying it
    Validate(File),
    /// Show what a deployment would change and do: exit code 0 nothing, 1 changes, 2 an error
    Plan(Plan),
    /// Deploy the release that gapless.toml describes, and follow the deployment
    Deploy(Deploy),
    /// Deploy what has succeeded in one environment into another one, or give a canary its next step
    Promote(Promote),
    /// Pause, resume or skip a step of a canary, or set its weight
    Canary(Canary),
    /// Approve a deployment that waits for it
    Approve(Approve),
    /// Refuse a deployment that waits for an approval
    Reject(Reject),
    /// Show what is live
    Status(Status),
    /// List deployments, the newest first
    History(History),
    /// Show a deployment
    Show(Show),
    /// Show the output of the live release's instances
    Logs(Logs),
    /// Go back to the release that was live before, or to the one of that number
    Rollback(Rollback),
    /// End the deployment that is under way: cancelled before its cutover, taken back after it
    Abort(Asked),
    /// Stop an application: its requests are answered 503 until it is started or deployed again
    Stop(Asked),
    /// Start a stopped application again, with the release that was live
    Start(Asked),
    /// Answer all requests of an application with a page, or no more; health checks still reach it
    Maintenance(Maintenance),
    /// Remove an application, its instances and its history; volumes stay
    Remove(Remove),
    /// Read and write keys of your own, and read the facts that gapless publishes
    Kv(Kv),
    /// Look for what is wrong with gapless, its runtimes and its proxy
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the running proxy and server replaced by the program that is at their place now, without losing a request
    Upgrade(Upgrade),
    /// Move everything that is recorded into a file, or from it into another store: the backup
    Store(Store),
    /// Keep files up to date from templates and keys, with confd's own files and flags
    Render(Box<Render>),
    /// Have systemd run the control plane and the data plane, now and at boot
    Install(Install),
    /// Run the control plane
    Server(Server),
    /// Run the data plane (the server does it for you)
    Proxy(Proxy),
    /// Print the JSON Schema of gapless.toml, for editors
    Schema,
    /// Print the OpenAPI description of the server's API
    Openapi,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// List the places at which this build can be made to fail, as JSON
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
    /// Supervise one process instance (the server does it for you)
    #[command(hide = true)]
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

/// What `gapless plan` needs to know.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub wanted: Wanted,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless deploy` needs to know.
#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub wanted: Wanted,
    /// Deploy although the very same is live, and although the environment requires others to have succeeded with it
    #[arg(long)]
    pub force: bool,
    /// Return as soon as the deployment is recorded; it goes on
    #[arg(long)]
    pub detach: bool,
    /// How long to wait for an approval before returning with exit code 7; the deployment goes on waiting
    #[arg(long, value_name = "DURATION", value_parser = gapless_config::parse_duration)]
    pub wait: Option<Millis>,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless approve` needs to know.
#[derive(Debug, Args)]
pub struct Approve {
    /// The number of the deployment [default: the one that is under way]
    pub number: Option<u64>,
    #[command(flatten)]
    pub app: App,
}

/// What `gapless reject` needs to know.
#[derive(Debug, Args)]
pub struct Reject {
    /// The number of the deployment [default: the one that is under way]
    pub number: Option<u64>,
    /// Why
    #[arg(short = 'r', long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub app: App,
}

/// What `gapless promote` needs to know.
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    pub app: App,
    /// The environment where it has succeeded: the very same image or program is deployed into the other one
    #[arg(long, value_name = "NAME", requires = "to")]
    pub from: Option<EnvName>,
    /// The environment to deploy it into. Without both, the canary that is under way goes on to its next step
    #[arg(long, value_name = "NAME", requires = "from")]
    pub to: Option<EnvName>,
    /// Return as soon as the deployment is recorded; it goes on
    #[arg(long)]
    pub detach: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless canary` needs to know.
#[derive(Debug, Args)]
pub struct Canary {
    #[command(subcommand)]
    pub command: CanaryCommand,
}

/// What a person wants of a canary.
#[derive(Debug, Subcommand)]
pub enum CanaryCommand {
    /// Stay at the present step until `resume`
    Pause {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Go on by itself again; the present step begins anew
    Resume {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Go on to the next step now; after the last one, to all requests
    Skip {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Send that share of the requests to the new release, and leave it there until told otherwise
    Weight {
        /// The share, in whole per cent, from 0 to 99
        #[arg(value_parser = clap::value_parser!(u8).range(0..=99))]
        percent: u8,
        #[command(flatten)]
        app: App,
    },
}

/// What `gapless status` needs to know.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this application
    pub app: Option<AppName>,
    /// Only this environment
    #[arg(short = 'e', long, value_name = "NAME")]
    pub env: Option<EnvName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless history` needs to know.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    pub app: NamedApp,
    /// How many at most
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless show` needs to know.
#[derive(Debug, Args)]
pub struct Show {
    /// The number of the deployment
    pub number: u64,
    #[command(flatten)]
    pub app: App,
    /// Follow it to its end
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless logs` needs to know.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub app: NamedApp,
    /// Go on with what comes
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// How many lines of each instance
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: usize,
    /// The instances of this slot, in place of the live one
    #[arg(long)]
    pub slot: Option<Slot>,
    /// Only the instances of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Print each line as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless rollback` needs to know.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The number of the release to go back to [default: the one that was live before]
    pub release: Option<u64>,
    #[command(flatten)]
    pub app: App,
    /// Go back although what was migrated since is not undone
    #[arg(long)]
    pub force: bool,
    /// Return as soon as the rollback is recorded; it goes on
    #[arg(long)]
    pub detach: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What is asked of an application.
#[derive(Debug, Args)]
pub struct Asked {
    #[command(flatten)]
    pub app: NamedApp,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `gapless maintenance` needs to know.
#[derive(Debug, Args)]
pub struct Maintenance {
    /// Whether the page is answered
    #[arg(value_enum)]
    pub state: OnOff,
    /// The HTML file of the page, at most 64 KiB [default: the one that the configuration names]
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    #[command(flatten)]
    pub app: App,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// All requests are answered 503 with the page
    On,
    /// The application answers again
    Off,
}

/// What `gapless kv` needs to know.
#[derive(Debug, Args)]
pub struct Kv {
    #[command(subcommand)]
    pub command: KvCommand,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum KvCommand {
    /// Print the value of a key
    Get {
        /// The key, such as /shop/port
        key: String,
    },
    /// Set a key
    Put {
        /// The key
        key: String,
        /// The value
        value: String,
    },
    /// Remove a key
    Delete {
        /// The key
        key: String,
    },
    /// List keys and their values
    Ls {
        /// Only those that begin with this
        #[arg(default_value = "/")]
        prefix: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List keys and their values, then what changes
    Watch {
        /// Only those that begin with this
        #[arg(default_value = "/")]
        prefix: String,
        /// Print all of them as a line of JSON at each change
        #[arg(long)]
        json: bool,
    },
}

/// What `gapless remove` needs to know.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    pub app: NamedApp,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

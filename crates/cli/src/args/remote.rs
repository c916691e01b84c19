//! Commands that ask a running server.

use super::host::Upgrade;
use crate::which::{App, File, NamedApp, Wanted};
use clap::{Args, Subcommand, ValueEnum};
use gapless_core::{AppName, EnvName, Millis, ServiceName, Slot};
use std::path::PathBuf;

/// Commands that ask a running server.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// Show what a deployment would change and do: exit code 0 nothing, 1 changes, 2 an error
    #[command(display_order = 10)]
    Plan(Plan),
    /// Deploy the release that gapless.toml describes, and follow the deployment
    #[command(display_order = 11)]
    Deploy(Deploy),
    /// Deploy what has succeeded in one environment into another one, or give a canary its next step
    #[command(display_order = 12)]
    Promote(Promote),
    /// Pause, resume or skip a step of a canary, or set its weight
    #[command(display_order = 13)]
    Canary(Canary),
    /// Approve a deployment that waits for it
    #[command(display_order = 14)]
    Approve(Approve),
    /// Refuse a deployment that waits for an approval
    #[command(display_order = 15)]
    Reject(Reject),
    /// Show what is live
    #[command(display_order = 16)]
    Status(Status),
    /// List deployments, the newest first
    #[command(display_order = 17)]
    History(History),
    /// Show a deployment
    #[command(display_order = 18)]
    Show(Show),
    /// Show the output of the live release's instances
    #[command(display_order = 19)]
    Logs(Logs),
    /// Go back to the release that was live before, or to the one of that number
    #[command(display_order = 20)]
    Rollback(Rollback),
    /// End the deployment that is under way: cancelled before its cutover, taken back after it
    #[command(display_order = 21)]
    Abort(Asked),
    /// Stop an application: its requests are answered 503 until it is started or deployed again
    #[command(display_order = 22)]
    Stop(Asked),
    /// Start a stopped application again, with the release that was live
    #[command(display_order = 23)]
    Start(Asked),
    /// Answer all requests of an application with a page, or no more; health checks still reach it
    #[command(display_order = 24)]
    Maintenance(Maintenance),
    /// Remove an application, its instances and its history; volumes stay
    #[command(display_order = 25)]
    Remove(Remove),
    /// Read and write keys of your own, and read the facts that gapless publishes
    #[command(display_order = 26)]
    Kv(Kv),
    /// Look for what is wrong with gapless, its runtimes and its proxy
    #[command(display_order = 27)]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the running proxy and server replaced by the program that is at their place now, without losing a request
    #[command(display_order = 28)]
    Upgrade(Upgrade),
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

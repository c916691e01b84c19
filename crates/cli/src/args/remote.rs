//! Commands that a running server carries out.

use super::host::Upgrade;
use crate::target::{App, File, NamedApp, Overrides};
use clap::{Args, Subcommand, ValueEnum};
use gapless_core::{AppName, EnvName, Millis, ServiceName, Slot};
use std::path::PathBuf;

/// Commands that a running server carries out.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// Show the changes and steps of a deployment, without deploying: exit code 0 no changes, 1 changes, 2 an error
    #[command(display_order = 10)]
    Plan(Plan),
    /// Deploy the release that gapless.toml describes, and follow the deployment
    #[command(display_order = 11)]
    Deploy(Deploy),
    /// Deploy a release that has succeeded in one environment into another one, or advance a canary by one step
    #[command(display_order = 12)]
    Promote(Promote),
    /// Pause, resume or skip a step of a canary, or set its weight
    #[command(display_order = 13)]
    Canary(Canary),
    /// Approve a deployment that waits for an approval
    #[command(display_order = 14)]
    Approve(Approve),
    /// Refuse a deployment that waits for an approval
    #[command(display_order = 15)]
    Reject(Reject),
    /// Show the live releases and the deployments in progress
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
    /// Go back to the release that was live before, or to the release with this number
    #[command(display_order = 20)]
    Rollback(Rollback),
    /// End the deployment in progress: cancel it before its cutover, revert it afterwards
    #[command(display_order = 21)]
    Abort(OnApp),
    /// Stop an application: its requests are answered 503 until the next `gapless start` or `gapless deploy`
    #[command(display_order = 22)]
    Stop(OnApp),
    /// Start a stopped application, with the release that was live
    #[command(display_order = 23)]
    Start(OnApp),
    /// Turn maintenance mode on or off: a page answers all requests but health checks
    #[command(display_order = 24)]
    Maintenance(Maintenance),
    /// Remove an application, its instances and its history; volumes stay
    #[command(display_order = 25)]
    Remove(Remove),
    /// Read and write keys of your own, and read the facts that gapless publishes
    #[command(display_order = 26)]
    Kv(Kv),
    /// Check gapless, its runtimes and its data planes for problems
    #[command(display_order = 27)]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Restart proxy and server with the binary now on disk, without losing a request
    #[command(display_order = 28)]
    Upgrade(Upgrade),
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Deploy even if the same release is live, and even if it has not succeeded in the environments that this one
    /// requires
    #[arg(long)]
    pub force: bool,
    /// Return as soon as the deployment is recorded; the server continues it
    #[arg(long)]
    pub detach: bool,
    /// How long to wait for an approval before returning with exit code 7; the deployment keeps waiting
    #[arg(long, value_name = "DURATION", value_parser = gapless_config::parse_duration)]
    pub wait: Option<Millis>,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Approve {
    /// The number of the deployment [default: the one in progress]
    pub number: Option<u64>,
    #[command(flatten)]
    pub app: App,
}

#[derive(Debug, Args)]
pub struct Reject {
    /// The number of the deployment [default: the one in progress]
    pub number: Option<u64>,
    /// The reason of the refusal
    #[arg(short = 'r', long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub app: App,
}

#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    pub app: App,
    /// The environment in which the release has succeeded: the same image or program is deployed into the other one
    #[arg(long, value_name = "NAME", requires = "to")]
    pub from: Option<EnvName>,
    /// The environment to deploy into. Without --from and --to, the canary in progress advances to its next step
    #[arg(long, value_name = "NAME", requires = "from")]
    pub to: Option<EnvName>,
    /// Return as soon as the deployment is recorded; the server continues it
    #[arg(long)]
    pub detach: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Canary {
    #[command(subcommand)]
    pub command: CanaryCommand,
}

/// A person's control of a canary.
#[derive(Debug, Subcommand)]
pub enum CanaryCommand {
    /// Stay at the present step until `resume`
    Pause {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Let steps end by themselves again; the present step restarts
    Resume {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Start the next step now; after the last one, send all requests to the new release
    Skip {
        #[command(flatten)]
        app: NamedApp,
    },
    /// Send this share of the requests to the new release, until `resume`, `skip` or a rollback
    Weight {
        /// The share, in whole percent, from 0 to 99
        #[arg(value_parser = clap::value_parser!(u8).range(0..=99))]
        percent: u8,
        #[command(flatten)]
        app: App,
    },
}

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

#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    pub app: NamedApp,
    /// The largest number of deployments to list
    #[arg(short = 'n', long, default_value_t = 20)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The number of the deployment
    pub number: u64,
    #[command(flatten)]
    pub app: App,
    /// Follow the deployment to its end
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub app: NamedApp,
    /// Keep printing new lines
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// The number of lines of each instance
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: usize,
    /// Show the instances of this slot instead of the live one
    #[arg(long)]
    pub slot: Option<Slot>,
    /// Only the instances of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Print each line as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The number of the release to go back to [default: the one that was live before]
    pub release: Option<u64>,
    #[command(flatten)]
    pub app: App,
    /// Go back even if migrations since then are not undone
    #[arg(long)]
    pub force: bool,
    /// Return as soon as the rollback is recorded; the server continues it
    #[arg(long)]
    pub detach: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of a command that takes only an application.
#[derive(Debug, Args)]
pub struct OnApp {
    #[command(flatten)]
    pub app: NamedApp,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Maintenance {
    /// The new state
    #[arg(value_enum)]
    pub state: OnOff,
    /// The HTML file of the page, at most 64 KiB [default: the one in the configuration]
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    #[command(flatten)]
    pub app: App,
}

/// The state of the maintenance mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Answer all requests 503 with the page
    On,
    /// Let the application answer again
    Off,
}

#[derive(Debug, Args)]
pub struct Kv {
    #[command(subcommand)]
    pub command: KvCommand,
}

/// An operation on keys.
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
        /// Only keys with this prefix
        #[arg(default_value = "/")]
        prefix: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List keys and their values, then print every change
    Watch {
        /// Only keys with this prefix
        #[arg(default_value = "/")]
        prefix: String,
        /// Print all keys as a line of JSON at each change
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    pub app: NamedApp,
    /// Remove without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
}

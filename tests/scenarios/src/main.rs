//! `./scripts/scenario NAME`: runs one scenario and prints its figures. The exit code is 1 if a promise was broken.

use clap::{Parser, Subcommand};
use gapless_scenarios::{cluster, crash, power, recipe, releases, render, scale, sick};
use std::process::ExitCode;

/// Shows the promises of gapless on the real components.
#[derive(Parser)]
#[command(name = "scenario")]
struct Args {
    /// Print the figures as a line of JSON at the end
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Bad releases of every kind, one after another, under load
    BadReleases,
    /// A canary of 10 %, by chance and by visitor
    Canary,
    /// Three servers on three etcd members: killed, paused and cut off, under load, run after run
    Cluster(cluster::Options),
    /// At each write and effect: the process killed, an error, a hang
    CrashMatrix(crash::MatrixOptions),
    /// A thousand WebSockets and ten thousand idle connections over twenty deployments
    Crowd,
    /// An application that writes 50 MB a second and a line of a gigabyte to its log
    Flood,
    /// Server, proxy, instances and the Docker Engine killed at random under load
    Kills(crash::KillsOptions),
    /// A migration with requests on hold, under load
    Hold,
    /// Fifty deployments through nginx, under load
    Nginx,
    /// Power loss at any moment of the real server's writes
    PowerLoss(power::Options),
    /// Files from templates and keys: confd's functions, and a hundred templates on a real etcd
    Render,
    /// The recipe that the project grew from: etcd, confd's files, nginx, systemd
    Recipe,
    /// The server killed beside 200 applications and 10,000 deployments
    Recovery,
    /// Rollbacks by each path
    Rollback,
    /// Half an hour of deployments under load; reports growth
    Soak(scale::soak::Options),
    /// A Docker Engine that hangs, sends wrong answers, dies, and has a full disk
    SickDocker(sick::Options),
    /// From test to production: gates, approval, canary, observation
    Walk,
    /// A hundred deployments, fifty rollbacks, fifty upgrades, and a million requests
    ZeroLoss,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.scenario {
        Scenario::BadReleases => releases::bad_releases::scenario(),
        Scenario::Canary => releases::canary::scenario(),
        Scenario::Cluster(options) => cluster::scenario(options),
        Scenario::CrashMatrix(options) => crash::matrix_scenario(options),
        Scenario::Crowd => scale::crowd::scenario(),
        Scenario::Flood => scale::flood::scenario(),
        Scenario::Kills(options) => crash::kills_scenario(options),
        Scenario::Hold => releases::hold::scenario(),
        Scenario::Nginx => releases::nginx::scenario(),
        Scenario::PowerLoss(options) => power::scenario(options),
        Scenario::Recipe => recipe::scenario(),
        Scenario::Recovery => scale::recovery::scenario(),
        Scenario::Render => render::scenario(),
        Scenario::Rollback => releases::rollback::scenario(),
        Scenario::Soak(options) => scale::soak::scenario(options),
        Scenario::SickDocker(options) => sick::scenario(options),
        Scenario::Walk => releases::walk::scenario(),
        Scenario::ZeroLoss => releases::zero_loss::scenario(),
    };
    outcome.print(args.json);
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

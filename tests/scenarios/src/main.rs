//! `./scripts/scenario NAME`: what gapless promises, shown on the real components, with its figures.

mod bad_releases;
mod canary;
mod cluster;
mod crashes;
mod crowd;
mod flood;
mod hold;
mod nginx;
mod power_loss;
mod recipe;
mod recovery;
mod render;
mod rollback;
mod sick_docker;
mod soak;
mod walk;
mod zero_loss;

use clap::{Parser, ValueEnum};
use gapless_api::ApplicationView;
use gapless_e2e::Gapless;

/// Shows what gapless promises, on the real components.
#[derive(Parser)]
#[command(name = "scenario")]
struct Args {
    /// Which
    #[arg(value_enum)]
    name: Name,
    /// Print the figures as a line of JSON at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: cluster::Options,
    #[command(flatten)]
    crashes: crashes::CrashOptions,
    #[command(flatten)]
    sick: sick_docker::SickOptions,
    #[command(flatten)]
    power: power_loss::PowerOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Bad releases of every kind, one after the other, under load
    BadReleases,
    /// A canary of 10 % by chance and by visitor
    Canary,
    /// Three servers on three etcd members: killed, paused and cut off, under load, run after run
    Cluster,
    /// At each write and effect: the process killed, an error, a hang
    CrashMatrix,
    /// A thousand WebSockets and ten thousand idle connections over twenty deployments
    Crowd,
    /// An application that writes 50 MB a second and a line of a gigabyte to its log
    Flood,
    /// Server, proxy, instances and the Docker Engine killed at random under load
    Kills,
    /// A migration with requests held, under load
    Hold,
    /// Fifty deploys through nginx, under load
    Nginx,
    /// The power goes at any moment of what the real server writes
    PowerLoss,
    /// Files from templates and keys: confd's functions, and a hundred templates on a real etcd
    Render,
    /// The recipe that the project grew from: etcd, confd's files, nginx, systemd
    Recipe,
    /// The server killed where there are 200 applications and 10,000 deployments
    Recovery,
    /// Rollbacks by each way there is
    Rollback,
    /// Half an hour of deployments under load, and what grows
    Soak,
    /// A Docker Engine that hangs, lies, dies, and is full
    SickDocker,
    /// From test to production: gates, approval, canary, observation
    Walk,
    /// A hundred deployments, fifty rollbacks and fifty upgrades, and a million requests
    ZeroLoss,
}

fn main() {
    let args = Args::parse();
    let figures = match args.name {
        Name::BadReleases => bad_releases::run(),
        Name::Canary => canary::run(),
        Name::Cluster => cluster::run_all(&args.cluster),
        Name::CrashMatrix => crashes::matrix(&args.crashes),
        Name::Crowd => crowd::run(),
        Name::Flood => flood::run(),
        Name::Kills => crashes::kills(&args.crashes, args.cluster.seed()),
        Name::Hold => hold::run(),
        Name::Nginx => nginx::run(),
        Name::PowerLoss => power_loss::run(&args.power, args.cluster.seed()),
        Name::Recipe => recipe::run(),
        Name::Recovery => recovery::run(),
        Name::Render => render::run(),
        Name::Rollback => rollback::run(),
        Name::SickDocker => sick_docker::run(&args.sick, args.crashes.faults(), args.cluster.seed()),
        Name::Soak => soak::run(args.crashes.minutes(30)),
        Name::Walk => walk::run(),
        Name::ZeroLoss => zero_loss::run(),
    };
    if args.json {
        println!("{figures}");
    } else {
        println!("{figures:#}");
    }
}

fn view(gapless: &Gapless) -> ApplicationView {
    gapless.json::<Vec<ApplicationView>, _>(["status", "--json"]).remove(0)
}

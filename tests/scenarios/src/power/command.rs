//! The subcommand `power-loss`.

use super::{Lie, Settings, Syncs, cut, record, restart};
use clap::Args;
use gapless_harness::Outcome;
use serde_json::json;

/// Recorded rounds: each has four deployments and other operations, and ends with the server's exit.
const ROUNDS: u32 = 3;
/// Images of each lying disk.
const IMAGES_OF_LIES: u64 = 200;

/// The options of `power-loss`.
#[derive(Args)]
pub struct Options {
    /// How many images of the disk are made
    #[arg(long, default_value_t = 5000)]
    images: u64,
    /// On how many images the real server is started
    #[arg(long, default_value_t = 10)]
    restarts: u64,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Records a server and cuts the power all over the recording.
#[must_use]
pub fn scenario(options: &Options) -> Outcome {
    let seed = options.seed;
    let mut recording = record(ROUNDS, Syncs::Well);
    let counts = recording.counts();
    eprintln!("recorded: {counts:?}");
    let settings = Settings { images: options.images, seed, lie: None };
    let report = cut(&recording, settings);
    let lies = [Lie::Files("state.db-wal"), Lie::Files("routes.json.new"), Lie::Files(".new"), Lie::Folders];
    let found = lies.map(|lie| {
        let report = cut(&recording, Settings { images: IMAGES_OF_LIES, lie: Some(lie), ..settings });
        json!({ "lie": format!("{lie:?}"), "images": report.images, "violated": report.violated })
    });
    let failing = record(ROUNDS, Syncs::FailAtTimes);
    let after_errors = cut(&failing, settings);
    let mut violations = report.violations;
    violations.extend(after_errors.violations);
    violations.extend(restart(&mut recording, options.restarts, seed, &mut |line| eprintln!("{line}")));
    let figures = json!({
        "images": report.images + after_errors.images,
        "images_after_errors": after_errors.images,
        "writes": counts.writes,
        "syncs": counts.syncs,
        "acknowledged": counts.acknowledged,
        "restarts": options.restarts,
        "seed": seed,
        "lies": found,
    });
    Outcome { figures, violations }
}

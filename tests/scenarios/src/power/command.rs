//! The power goes at any moment of a recording of the real server; what was acknowledged must be there.

use clap::Args;
use gapless_e2e::power::{self, Lie, Settings, Syncs};
use serde_json::{Value, json};

/// Rounds that are recorded: each has four deployments and what else people do, and ends with the server's end.
const ROUNDS: u32 = 3;
/// Images of each disk that lies.
const IMAGES_OF_LIES: u64 = 200;

/// What the scenario of power loss is told.
#[derive(Args)]
pub struct PowerOptions {
    /// Of power loss: how many images of the disk are made
    #[arg(long, default_value_t = 5000)]
    images: u64,
    /// Of power loss: on how many images the real server is started
    #[arg(long, default_value_t = 10)]
    restarts: u64,
}

pub fn run(options: &PowerOptions, seed: u64) -> Value {
    let mut recording = power::record(ROUNDS, Syncs::Well);
    let counts = recording.counts();
    eprintln!("recorded: {counts:?}");
    let settings = Settings { images: options.images, seed, lie: None };
    let outcome = power::cut(&recording, settings);
    let lies = [Lie::Files("state.db-wal"), Lie::Files("routes.json.new"), Lie::Files(".new"), Lie::Folders];
    let found = lies.map(|lie| {
        let outcome = power::cut(&recording, Settings { images: IMAGES_OF_LIES, lie: Some(lie), ..settings });
        json!({ "lie": format!("{lie:?}"), "images": outcome.images, "violated": outcome.violated })
    });
    let failing = power::record(ROUNDS, Syncs::FailAtTimes);
    let after_errors = power::cut(&failing, settings);
    let mut violations = outcome.violations;
    violations.extend(after_errors.violations);
    violations.extend(power::restart(&mut recording, options.restarts, seed, &mut |line| eprintln!("{line}")));
    json!({
        "images": outcome.images + after_errors.images,
        "images_after_errors": after_errors.images,
        "violations": violations.len(),
        "writes": counts.writes,
        "syncs": counts.syncs,
        "acknowledged": counts.acknowledged,
        "restarts": options.restarts,
        "seed": seed,
        "violated": violations,
        "lies": found,
    })
}

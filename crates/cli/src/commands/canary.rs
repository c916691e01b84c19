//! `gapless canary`: what a person wants of a rollout in steps.

use crate::args::{Canary, CanaryCommand};
use crate::exit::Failure;
use gapless_api::Client;
use gapless_core::AppKey;
use gapless_core::command::Steer;
use std::process::ExitCode;

pub async fn run(args: Canary, client: &Client) -> Result<ExitCode, Failure> {
    let (steer, key) = match args.command {
        CanaryCommand::Pause { app } => (Steer::Pause, app.key()?),
        CanaryCommand::Resume { app } => (Steer::Resume, app.key()?),
        CanaryCommand::Skip { app } => (Steer::Next, app.key()?),
        CanaryCommand::Weight { percent, app } => (Steer::Weight(percent), app.key()?),
    };
    say(client, &key, steer).await
}

/// Steers the canary and says what comes of it.
pub async fn say(client: &Client, key: &AppKey, steer: Steer) -> Result<ExitCode, Failure> {
    let deployment = client.steer(key, steer).await?;
    let (number, release) = (deployment.number, deployment.release);
    let weight = deployment.canary.map_or(0, |canary| canary.weight);
    println!(
        "{}",
        match steer {
            Steer::Pause => format!("paused deployment {number} of {key}: release {release} stays at {weight} %"),
            Steer::Resume => format!("deployment {number} of {key} goes on; its step at {weight} % begins anew"),
            Steer::Next => format!("deployment {number} of {key} goes on to its next step"),
            Steer::Weight(weight) => format!(
                "release {release} of {key} gets {weight} % until you say otherwise: `gapless canary resume`, \
                 `gapless promote`, or `gapless rollback`"
            ),
        }
    );
    Ok(ExitCode::SUCCESS)
}

//! `gapless canary`: controls the steps of a canary.

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
    self::steer(client, &key, steer).await
}

/// Applies a person's control to the canary and reports the effect.
pub async fn steer(client: &Client, key: &AppKey, steer: Steer) -> Result<ExitCode, Failure> {
    let deployment = client.steer(key, steer).await?;
    let (number, release) = (deployment.number, deployment.release);
    let weight = deployment.canary.map_or(0, |canary| canary.weight);
    println!(
        "{}",
        match steer {
            Steer::Pause => format!("paused deployment {number} of {key}: release {release} stays at {weight} %"),
            Steer::Resume => format!("resumed deployment {number} of {key}: its step at {weight} % restarts"),
            Steer::Next => format!("deployment {number} of {key} starts its next step"),
            Steer::Weight(weight) => format!(
                "release {release} of {key} stays at {weight} % until `gapless canary resume`, `gapless promote` or \
                 `gapless rollback`"
            ),
        }
    );
    Ok(ExitCode::SUCCESS)
}

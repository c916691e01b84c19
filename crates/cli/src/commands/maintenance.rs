//! `gapless maintenance`: turns maintenance mode on or off.

use crate::args::{Maintenance, OnOff};
use crate::exit::Failure;
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(args: Maintenance, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    if args.state == OnOff::Off {
        client.end_maintenance(&key).await?;
        println!("maintenance mode of {key} is off: the application answers requests");
        return Ok(ExitCode::SUCCESS);
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--page {} cannot be read: {error}", path.display())))
    };
    let page = args.page.as_ref().map(read).transpose()?;
    client.begin_maintenance(&key, page).await?;
    println!("maintenance mode of {key} is on: its requests are answered 503 until `gapless maintenance off`");
    Ok(ExitCode::SUCCESS)
}

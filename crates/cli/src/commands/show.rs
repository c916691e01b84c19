//! `gapless show N`: prints a deployment with its phases and its receipt.

use crate::args::Show;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use crate::present::{deployment, json};
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(args: Show, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    if args.follow {
        return follow::follow(client, &key, args.number, Until::Ended { patience: None }, args.json).await;
    }
    let found = client.deployment(&key, args.number).await?;
    if args.json {
        return json::print(&found);
    }
    print!("{}", deployment::whole(&found));
    Ok(ExitCode::SUCCESS)
}

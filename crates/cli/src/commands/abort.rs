//! `gapless abort`: ends the deployment that is under way, and waits until it has.

use crate::args::Asked;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(args: Asked, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let deployment = client.abort(&key).await?;
    follow::follow(client, &key, deployment.number, Until::Aborted, args.json).await
}

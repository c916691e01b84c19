//! `gapless abort`: ends the deployment in progress, and waits for its end.

use crate::args::OnApp;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(args: OnApp, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let deployment = client.abort(&key).await?;
    follow::follow(client, &key, deployment.number, Until::Aborted, args.json).await
}

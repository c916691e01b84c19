//! `gapless rollback`: goes back to an earlier release. The command returns as soon as requests go there; the server
//! finishes the rest.
use crate::args::Rollback;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(args: Rollback, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let deployment = client.rollback(&key, args.release, args.force).await?;
    if args.detach {
        return follow::detached(&deployment, args.json);
    }
    follow::follow(client, &key, deployment.number, Until::RolledBack, args.json).await
}

//! `gapless rollback`: back to an earlier release. It returns as soon as requests go there; what is left to do goes on.

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
    follow::follow(client, &key, deployment.number, Until::WentBack, args.json).await
}

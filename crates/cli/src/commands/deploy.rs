//! `gapless deploy`: submits a release and follows its deployment. The server carries the deployment out: a client that
//! exits neither stops it nor leaves a lock behind.

use crate::args::Deploy;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use gapless_core::AppKey;
use std::process::ExitCode;

pub async fn run(args: Deploy, client: &Client) -> Result<ExitCode, Failure> {
    let options = args.overrides.into_options()?;
    let spec = gapless_config::load(&args.file.path, &options)?.spec;
    let key = AppKey::new(spec.app.clone(), spec.env.clone());
    let then = gapless_config::following(&args.file.path, &spec, &options)?;
    let deployment = client.deploy(spec, then, args.force).await?;
    if args.detach {
        return follow::detached(&deployment, args.json);
    }
    follow::follow(client, &key, deployment.number, Until::Ended { patience: args.wait }, args.json).await
}

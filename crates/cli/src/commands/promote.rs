//! `gapless promote`: deploys a proven release into another environment, or advances a canary.

use crate::args::Promote;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use gapless_config::LoadOptions;
use gapless_core::AppKey;
use gapless_core::command::Steer;
use std::process::ExitCode;

pub async fn run(args: Promote, client: &Client) -> Result<ExitCode, Failure> {
    let (Some(from), Some(to)) = (args.from, args.to) else {
        return super::canary::steer(client, &args.app.key()?, Steer::Next).await;
    };
    let options = LoadOptions { environment: Some(to), ..LoadOptions::default() };
    let spec = gapless_config::load(&args.app.file().path, &options)?.spec;
    let key = AppKey::new(spec.app.clone(), spec.env.clone());
    let then = gapless_config::following(&args.app.file().path, &spec, &options)?;
    let deployment = client.promote(from, spec, then).await?;
    if args.detach {
        return follow::detached(&deployment, args.json);
    }
    follow::follow(client, &key, deployment.number, Until::Ended { patience: None }, args.json).await
}

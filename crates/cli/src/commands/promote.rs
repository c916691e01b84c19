//! `gapless promote`: what has succeeded in one environment goes into another one.

use crate::args::Promote;
use crate::exit::Failure;
use crate::present::follow::{self, Until};
use gapless_api::Client;
use gapless_config::LoadOptions;
use gapless_core::AppKey;
use std::process::ExitCode;

pub async fn run(args: Promote, client: &Client) -> Result<ExitCode, Failure> {
    let options = LoadOptions { environment: Some(args.to), ..LoadOptions::default() };
    let spec = gapless_config::load(&args.file.path, &options)?.spec;
    let key = AppKey::new(spec.app.clone(), spec.env.clone());
    let deployment = client.promote(args.from, spec).await?;
    if args.detach {
        return follow::detached(&deployment, args.json);
    }
    follow::follow(client, &key, deployment.number, Until::Ended { patience: None }, args.json).await
}

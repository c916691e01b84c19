//! `gapless stop` and `gapless start`.

use crate::args::OnApp;
use crate::exit::Failure;
use crate::present::json;
use gapless_api::Client;
use std::process::ExitCode;

pub async fn stop(args: OnApp, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let view = client.stop(&key).await?;
    if args.json {
        return json::print(&view);
    }
    println!("{key} is stopped: its requests are answered 503 until `gapless start` or `gapless deploy`");
    Ok(ExitCode::SUCCESS)
}

pub async fn start(args: OnApp, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let view = client.start(&key).await?;
    if args.json {
        return json::print(&view);
    }
    println!("{key} is starting; `gapless status` shows its state");
    Ok(ExitCode::SUCCESS)
}

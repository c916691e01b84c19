//! `gapless doctor`: checks gapless, its runtimes and its data planes for problems.

use crate::exit::Failure;
use crate::present::json;
use gapless_api::Client;
use std::process::ExitCode;

pub async fn run(as_json: bool, client: &Client) -> Result<ExitCode, Failure> {
    let checks = client.doctor().await?;
    if as_json {
        json::print(&checks)?;
    } else {
        for check in &checks {
            println!("{} {:8} {}", if check.is_ok { "ok  " } else { "BAD " }, check.name, check.message);
        }
    }
    Ok(if checks.iter().all(|check| check.is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

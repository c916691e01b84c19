//! `gapless logs`: the output of an application's instances.

use crate::args::Logs;
use crate::exit::Failure;
use crate::present::{json, local_time};
use gapless_api::{Client, LogRecord};
use std::io::Write;
use std::process::ExitCode;

pub async fn run(args: Logs, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let mut lines = client.logs(&key, args.slot, args.service.as_ref(), args.lines, args.follow).await?;
    loop {
        let line = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            line = lines.next() => line?,
        };
        let Some(line) = line else { return Ok(ExitCode::SUCCESS) };
        let shown = if args.json { json::line(&line)? } else { plain(&line) };
        // A reader that has seen enough, such as `head`, is no failure.
        if writeln!(std::io::stdout(), "{shown}").is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Control characters of the application must not reach the terminal: they could rewrite what is shown.
fn plain(line: &LogRecord) -> String {
    let text: String = line.text.chars().map(|c| if c.is_control() && c != '\t' { '�' } else { c }).collect();
    format!("{} {} {}", local_time(line.at), line.instance, text)
}

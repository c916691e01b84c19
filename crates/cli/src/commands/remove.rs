//! `gapless remove`: removes an application, its instances and its history.

use crate::args::Remove;
use crate::exit::Failure;
use crate::present::listed;
use gapless_api::{Client, ClientError, Code};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// The longest wait for the last requests and instances.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time after which a person learns the reason of the wait.
const SAID_AFTER: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

pub async fn run(args: Remove, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let view = client.application(&key).await?;
    if !args.yes && !is_confirmed(&format!("remove {key}, its instances and its history?"))? {
        println!("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    client.remove(&key).await?;
    let began = tokio::time::Instant::now();
    let mut has_said = false;
    loop {
        match client.application(&key).await {
            Err(ClientError::Api(error)) if error.code == Code::NotFound => break,
            Err(error) => return Err(error.into()),
            Ok(_) if began.elapsed() >= PATIENCE => {
                println!("{key} gets no more requests; its instances stop once they have finished their last ones");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(_) => {
                if !has_said && began.elapsed() >= SAID_AFTER {
                    eprintln!("waiting for its last requests and instances; Ctrl-C ends the wait, not the removal");
                    has_said = true;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
    match listed(view.hosts.iter().map(ToString::to_string)) {
        hosts if hosts.is_empty() => println!("removed {key}"),
        hosts => println!("removed {key}; other applications may use {hosts} now"),
    }
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "standard input is no terminal, so nobody can confirm; repeat the command with --yes",
        ));
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush().map_err(Failure::other)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::other)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

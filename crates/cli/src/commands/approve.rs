//! `gapless approve` and `gapless reject`: approve or refuse a deployment that waits for an approval.

use crate::args::{Approve, Reject};
use crate::exit::Failure;
use gapless_api::Client;
use gapless_core::{AppKey, Deployment};
use std::process::ExitCode;

pub async fn approve(args: Approve, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let number = number(args.number, &key, client).await?;
    let deployment = client.approve(&key, number).await?;
    let release = client.release(&key, deployment.release).await?;
    let needed = release.spec.approval.as_ref().map_or(0, |rule| usize::from(rule.people));
    match needed.saturating_sub(deployment.approvals.len()) {
        0 => println!("approved deployment {number} of {key}; the deployment continues"),
        missing => println!("approved deployment {number} of {key}; it still needs {missing} more"),
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn reject(args: Reject, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let number = number(args.number, &key, client).await?;
    let Deployment { release, .. } = client.reject(&key, number, args.reason).await?;
    println!("refused deployment {number} of {key}; release {release} does not go live");
    Ok(ExitCode::SUCCESS)
}

async fn number(given: Option<u64>, key: &AppKey, client: &Client) -> Result<u64, Failure> {
    if let Some(number) = given {
        return Ok(number);
    }
    let active = client.application(key).await?.active;
    active.map(|deployment| deployment.number).ok_or_else(|| {
        Failure::other(format!("no deployment of {key} is under way; `gapless history` lists those that have ended"))
    })
}

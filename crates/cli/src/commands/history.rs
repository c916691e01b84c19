//! `gapless history`: lists deployments, the newest first.

use crate::args::History;
use crate::exit::Failure;
use crate::present::{json, local_time, table};
use gapless_api::Client;
use gapless_core::Deployment;
use gapless_core::deployment::Kind;
use std::process::ExitCode;

pub async fn run(args: History, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let deployments = client.deployments(&key, None, args.limit).await?;
    if args.json {
        return json::print(&deployments);
    }
    let mut rows = table::of(["deployment", "", "release", "slot", "outcome", "when", "by", "cutover"]);
    for deployment in &deployments {
        rows.add_row(row(deployment));
    }
    println!("{rows}");
    Ok(ExitCode::SUCCESS)
}

fn row(deployment: &Deployment) -> Vec<String> {
    vec![
        deployment.number.to_string(),
        match deployment.kind {
            Kind::Deploy => "deploy".to_owned(),
            Kind::Rollback => "rollback".to_owned(),
        },
        deployment.release.to_string(),
        deployment.slot.map(|slot| slot.to_string()).unwrap_or_default(),
        deployment.phase.name().to_owned(),
        local_time(deployment.requested_at),
        deployment.requested_by.clone(),
        deployment.receipt.cutover_us.map(crate::present::micros).unwrap_or_default(),
    ]
}

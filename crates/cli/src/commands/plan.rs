//! `gapless plan`: prints the changes and steps of a deployment without deploying. Exit codes: 0 no changes, 1 changes,
//! 2 an error.

use crate::args::Plan;
use crate::exit::Failure;
use crate::present::json;
use gapless_api::{Client, PlanView};
use gapless_core::{AppKey, Artifacts};
use serde_json::Value;
use std::process::ExitCode;

const CHANGES: u8 = 1;

pub async fn run(args: Plan, client: &Client) -> Result<ExitCode, Failure> {
    let options = args.overrides.into_options()?;
    let spec = gapless_config::load(&args.file.path, &options)?.spec;
    let key = AppKey::new(spec.app.clone(), spec.env.clone());
    // Every failure exits with 2, because 1 means changes.
    let view = client.plan(spec).await.map_err(|error| Failure::usage(error.to_string()))?;
    let code = if view.plan.is_unchanged { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) };
    if args.json {
        json::print(&view)?;
        return Ok(code);
    }
    print(&key, &view);
    Ok(code)
}

fn print(key: &AppKey, view: &PlanView) {
    let plan = &view.plan;
    match plan.live {
        Some(release) if plan.is_unchanged => {
            println!("{key}: the same release {release} is live: nothing would be done");
            return;
        }
        Some(release) => println!("{key}: release {release} is live and would be replaced"),
        None => println!("{key}: nothing is live; this would be the first release"),
    }
    let before = plan.source_before.as_deref().unwrap_or("nothing");
    if before != plan.source {
        println!("  runs       {before} → {}", plan.source);
    }
    let before = plan.artifacts_before.clone().unwrap_or_default();
    match &plan.artifacts {
        Some(artifacts) if *artifacts == before => {}
        Some(artifacts) => println!("  exactly    {} → {}", short(&before), short(artifacts)),
        None => println!("  exactly    unknown until the release is fetched"),
    }
    for change in &plan.changes {
        let (sign, values) = match (&change.before, &change.after) {
            (None, Some(after)) => ("+", shown(after)),
            (Some(before), None) => ("-", shown(before)),
            (Some(before), Some(after)) => ("~", format!("{} → {}", shown(before), shown(after))),
            (None, None) => continue,
        };
        println!("  {sign} {} {values}", change.path);
    }
    println!("steps");
    plan.steps.iter().for_each(|step| println!("  {step}"));
    if let Some(predicted) = &plan.predicted {
        println!(
            "about {} until the cutover and {} in all, by the last {} deployments",
            predicted.cutover, predicted.whole, predicted.deployments
        );
    }
    let free = |bytes: Option<u64>| bytes.map_or("an unknown amount".to_owned(), megabytes);
    let memory = plan.memory_bytes.map_or("no limit is set".to_owned(), megabytes);
    println!("memory of a second slot: {memory}; free: {}", free(view.memory_free_bytes));
    println!("disk for its output: {}; free: {}", megabytes(plan.disk_bytes), free(view.disk_free_bytes));
    if plan.memory_bytes.zip(view.memory_free_bytes).is_some_and(|(needed, free)| needed > free) {
        println!("warning: the second slot may need more memory than is free");
    }
    if view.disk_free_bytes.is_some_and(|free| plan.disk_bytes > free) {
        println!("warning: the output of the second slot may need more disk space than is free");
    }
}

/// Checksums shortened to the part that people compare.
fn short(artifacts: &Artifacts) -> String {
    if artifacts.0.is_empty() {
        return "nothing".to_owned();
    }
    let short = |artifact: &String| artifact.chars().take("sha256:".len() + 12).collect();
    Artifacts(artifacts.0.iter().map(|(service, artifact)| (service.clone(), short(artifact))).collect()).to_string()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

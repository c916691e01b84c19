//! `gapless status`: prints the live releases and the deployments in progress.

use crate::args::Status;
use crate::exit::Failure;
use crate::present::{deployment, json, table};
use gapless_api::{ApplicationView, Client, SlotState};
use gapless_core::{AppKey, Timestamp};
use std::process::ExitCode;

pub async fn run(args: Status, client: &Client) -> Result<ExitCode, Failure> {
    let mut views = client.applications().await?;
    views.retain(|view| args.app.as_ref().is_none_or(|app| view.app == *app));
    views.retain(|view| args.env.as_ref().is_none_or(|env| view.env == *env));
    if let (Some(app), true) = (&args.app, views.is_empty()) {
        let key = AppKey::new(app.clone(), args.env.unwrap_or_default());
        // The server's error lists the applications that exist.
        client.application(&key).await?;
    }
    if args.json {
        return json::print(&views);
    }
    if views.is_empty() {
        println!("nothing is deployed yet: run `gapless init`, then `gapless deploy`");
        return Ok(ExitCode::SUCCESS);
    }
    let now = crate::present::now();
    let mut rows = table::of(["application", "env", "slot", "", "release", "instances", "requests", "source"]);
    for view in &views {
        add_rows(&mut rows, view, now);
    }
    println!("{rows}");
    for view in &views {
        print_progress(view);
    }
    Ok(ExitCode::SUCCESS)
}

fn add_rows(rows: &mut comfy_table::Table, view: &ApplicationView, now: Timestamp) {
    let (app, env) = (view.app.to_string(), view.env.to_string());
    if view.slots.is_empty() {
        rows.add_row(vec![app, env, "–".to_owned(), "nothing is live".to_owned()]);
        return;
    }
    for (index, slot) in view.slots.iter().enumerate() {
        let in_rotation = slot.instances.iter().filter(|instance| instance.in_rotation).count();
        let running = slot.instances.iter().filter(|instance| instance.address.is_some()).count();
        let instances = match slot.state {
            SlotState::Parked => format!("{} frozen", slot.instances.len()),
            SlotState::Live | SlotState::Fallback | SlotState::Canary => {
                format!("{in_rotation} of {} serving", slot.instances.len())
            }
            _ => format!("{running} of {} running", slot.instances.len()),
        };
        let state = match slot.ready_until {
            Some(until) => format!("{} for {}", json::word(&slot.state), until.since(now)),
            None => json::word(&slot.state),
        };
        let is_first = index == 0;
        rows.add_row(vec![
            if is_first { app.clone() } else { String::new() },
            if is_first { env.clone() } else { String::new() },
            slot.slot.to_string(),
            state,
            slot.release.to_string(),
            instances,
            format!("{} ({} failed)", slot.traffic.requests, slot.traffic.failed),
            slot.source.clone(),
        ]);
    }
}

fn print_progress(view: &ApplicationView) {
    let (app, env) = (&view.app, &view.env);
    if let Some(active) = &view.active {
        let since = crate::present::now().since(active.phase_since);
        println!(
            "{app}/{env}: deployment {} of release {} is {} for {since}",
            active.number,
            active.release,
            active.phase.name()
        );
        if let Some(canary) = deployment::canary_line(active) {
            println!("{app}/{env}: {canary}");
        }
    }
    for number in &view.queue {
        println!("{app}/{env}: deployment {number} waits");
    }
    if !view.planes_behind.is_empty() && view.live.is_some() {
        println!("{app}/{env}: data plane {} has not applied the present routes yet", view.planes_behind.join(", "));
    }
    if let Some(maintenance) = &view.maintenance {
        let since = crate::present::now().since(maintenance.since);
        println!(
            "{app}/{env}: maintenance mode is on for {since}, by {}; `gapless maintenance off` turns it off",
            maintenance.by
        );
    }
    if view.desired == gapless_core::application::Desired::Stopped {
        println!("{app}/{env} is stopped; `gapless start` starts it");
    }
}

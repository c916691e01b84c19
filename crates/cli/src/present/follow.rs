//! Following a deployment: a progress display on a terminal, plain lines elsewhere, JSON for programs.

use super::{again, deployment, json};
use crate::exit::{self, Failure};
use gapless_api::{Client, ClientError, FollowEvent, ProgressView};
use gapless_core::deployment::{Kind, Outcome};
use gapless_core::{AppKey, Deployment, Millis, Phase};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

const SPINNER_EVERY: Duration = Duration::from_millis(100);

/// The point up to which a deployment is followed, and the outcome that counts as success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To its end, or to the end of `patience` if it waits for an approval.
    Ended {
        /// The longest wait for an approval, from the start of that wait.
        patience: Option<Millis>,
    },
    /// Until requests go to the earlier release.
    RolledBack,
    /// Until the aborted deployment has ended.
    Aborted,
}

/// Reports that a deployment was recorded, without following it.
pub fn detached(deployment: &Deployment, as_json: bool) -> Result<ExitCode, Failure> {
    if as_json {
        return json::print(deployment);
    }
    let Deployment { number, key, release, .. } = deployment;
    println!(
        "deployment {number} of {key} (release {release}) is {}; follow it with `gapless show {number} -f`",
        deployment.phase.name()
    );
    Ok(ExitCode::SUCCESS)
}

/// Follows a deployment, also through restarts of the server. Ctrl-C ends only the following.
pub async fn follow(
    client: &Client,
    key: &AppKey,
    number: u64,
    until: Until,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let mut display = Display::new(as_json);
    let mut events = client.follow(key, number).await?;
    let mut give_up_at = None;
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = until_instant(give_up_at) => return Ok(display.pending(number)),
            _ = tokio::signal::ctrl_c() => return Ok(display.interrupted(number)),
        };
        match event {
            Ok(Some(event)) => {
                display.show(&event)?;
                give_up_at = match until {
                    Until::Ended { patience: Some(patience) } if event.deployment.phase == Phase::Approving => {
                        give_up_at.or_else(|| Some(tokio::time::Instant::now() + patience.to_duration()))
                    }
                    _ => None,
                };
                let is_over = event.deployment.phase.is_end();
                if is_over || (until == Until::RolledBack && is_rolled_back(&event.deployment)) {
                    return Ok(display.end(&event.deployment, until));
                }
            }
            Ok(None) | Err(ClientError::Broken(_)) => {
                display.away();
                match again::ask(async || client.follow(key, number).await).await? {
                    Some(followed) => events = followed,
                    None => return Ok(display.interrupted(number)),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn until_instant(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Requests go to the earlier release: the data planes have applied a rollback, or the deployment in progress has been
/// reverted.
fn is_rolled_back(deployment: &Deployment) -> bool {
    match deployment.kind {
        Kind::Rollback => matches!(deployment.phase, Phase::Retiring | Phase::Ended(Outcome::Succeeded { .. })),
        Kind::Deploy => matches!(deployment.phase, Phase::Ended(Outcome::Reverted(_))),
    }
}

/// The output while a deployment is followed.
enum Display {
    Terminal { spinner: ProgressBar, phases_shown: usize },
    Plain { phases_shown: usize, canary_shown: Option<String> },
    Json,
}

impl Display {
    fn new(as_json: bool) -> Self {
        if as_json {
            return Display::Json;
        }
        if !std::io::stdout().is_terminal() || std::env::var_os("CI").is_some() {
            return Display::Plain { phases_shown: 0, canary_shown: None };
        }
        let spinner = ProgressBar::new_spinner();
        // The template is a constant; an invalid one would only change the look.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(SPINNER_EVERY);
        Display::Terminal { spinner, phases_shown: 0 }
    }

    fn show(&mut self, event: &FollowEvent) -> Result<(), Failure> {
        let lines = |shown: &mut usize| {
            let passed = event.deployment.passed.iter().skip(std::mem::replace(shown, event.deployment.passed.len()));
            let lines = passed.map(|passed| deployment::phase_line(&passed.phase, passed.until.since(passed.since)));
            lines.collect::<Vec<_>>()
        };
        match self {
            Display::Json => println!("{}", json::line(event)?),
            Display::Plain { phases_shown, canary_shown } => {
                event.output.iter().for_each(|line| println!("    {} | {}", line.gate, line.line));
                lines(phases_shown).iter().for_each(|line| println!("  {line}"));
                let canary = deployment::canary_line(&event.deployment);
                if let Some(line) = canary.as_ref().filter(|_| canary != *canary_shown) {
                    println!("    {line}");
                }
                *canary_shown = canary;
            }
            Display::Terminal { spinner, phases_shown } => {
                event.output.iter().for_each(|line| spinner.println(format!("  {} | {}", line.gate, line.line)));
                lines(phases_shown).iter().for_each(|line| spinner.println(format!("✓ {line}")));
                let progress = event.progress.as_ref().map(progress).unwrap_or_default();
                let canary =
                    deployment::canary_line(&event.deployment).map(|line| format!(": {line}")).unwrap_or_default();
                spinner.set_message(format!("{}{progress}{canary}", event.deployment.phase.name()));
            }
        }
        Ok(())
    }

    fn end(&self, deployment: &Deployment, until: Until) -> ExitCode {
        if let Display::Terminal { spinner, .. } = self {
            spinner.finish_and_clear();
        }
        let is_rolled_back = until == Until::RolledBack && is_rolled_back(deployment);
        if !matches!(self, Display::Json) {
            println!("{}", if is_rolled_back { rolled_back(deployment) } else { deployment::ending(deployment) });
        }
        let was_aborted = until == Until::Aborted
            && matches!(deployment.phase, Phase::Ended(Outcome::Cancelled(_) | Outcome::Reverted(_)));
        if is_rolled_back || was_aborted { ExitCode::SUCCESS } else { exit::of_deployment(deployment) }
    }

    fn pending(&self, number: u64) -> ExitCode {
        if let Display::Terminal { spinner, .. } = self {
            spinner.finish_and_clear();
        }
        eprintln!(
            "deployment {number} waits for an approval: `gapless approve {number}`, or `gapless reject {number}`"
        );
        ExitCode::from(exit::APPROVAL)
    }

    fn interrupted(&self, number: u64) -> ExitCode {
        if let Display::Terminal { spinner, .. } = self {
            spinner.finish_and_clear();
        }
        eprintln!(
            "deployment {number} continues on the server; follow it with `gapless show {number} -f`, or end it with \
             `gapless abort`"
        );
        ExitCode::from(exit::INTERRUPTED)
    }

    fn away(&self) {
        match self {
            Display::Terminal { spinner, .. } => spinner.set_message(again::AWAY),
            Display::Plain { .. } | Display::Json => eprintln!("{}", again::AWAY),
        }
    }
}

fn rolled_back(deployment: &Deployment) -> String {
    let path =
        deployment.rollback_path.map(|path| format!("; {}", deployment::rollback_path(path))).unwrap_or_default();
    let took = deployment.receipt.cutover_us.map(|us| format!("; the cutover took {}", super::micros(us)));
    match (deployment.kind, deployment.previous) {
        (Kind::Deploy, Some(previous)) => format!("rolled back to release {} in {}", previous.release, previous.slot),
        _ => {
            let slot = deployment.slot.map(|slot| format!(" in {slot}")).unwrap_or_default();
            format!("rolled back to release {}{slot}{path}{}", deployment.release, took.unwrap_or_default())
        }
    }
}

fn progress(progress: &ProgressView) -> String {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    match progress.total_bytes {
        0 => format!(": {}", progress.step),
        total => format!(": {}, {} of {} MB", progress.step, megabytes(progress.done_bytes), megabytes(total)),
    }
}

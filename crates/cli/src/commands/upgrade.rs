//! `gapless upgrade`: another version of gapless takes the place of the one that runs. Each process is told by a signal,
//! as nginx is, and does it by itself: the proxy starts a successor, the server executes itself anew.

use crate::args::{Role, Upgrade};
use crate::exit::Failure;
use crate::present::json;
use gapless_api::{Client, ServerInfo};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::signal::unix::SignalKind;

/// How long a process may take until its successor answers.
const DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// What a process is told by that its place is to be taken.
pub fn signal() -> SignalKind {
    SignalKind::user_defined2()
}

/// The version that the program at that path says it is; why it cannot run otherwise.
pub async fn runs(program: &Path) -> Result<String, String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_DEADLINE, command.output()).await;
    let output = output.map_err(|_| format!("it does not say its version within {} s", VERSION_DEADLINE.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().strip_prefix("gapless ") {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _ => Err(format!("it is not gapless, or does not run here: {}", output.status)),
    }
}

/// What was replaced.
#[derive(Serialize)]
struct Upgraded {
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Processes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Versions>,
}

/// The process before and the one that has taken its place.
#[derive(Serialize)]
struct Processes {
    before: u32,
    now: u32,
}

#[derive(Serialize)]
struct Versions {
    before: String,
    now: String,
}

pub async fn run(args: Upgrade, client: &Client) -> Result<ExitCode, Failure> {
    let before = client.server().await?;
    let mut upgraded = Upgraded { proxy: None, server: None };
    if args.only != Some(Role::Server) {
        upgraded.proxy = proxy(&before, client).await?;
        if upgraded.proxy.is_none() && args.only == Some(Role::Proxy) {
            return Err(Failure::usage("the data plane is no proxy of gapless's own"));
        }
    }
    if args.only != Some(Role::Proxy) {
        upgraded.server = Some(server(before, client).await?);
    }
    if args.json {
        json::print(&upgraded)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Processes { before, now }) = &upgraded.proxy {
        println!("proxy: process {now} has taken the place of {before}, which finishes what it has");
    }
    if let Some(Versions { before, now }) = &upgraded.server {
        println!("server: version {now}{}", if before == now { String::new() } else { format!(", before {before}") });
    }
    Ok(ExitCode::SUCCESS)
}

/// Has another process take the place of the proxy; `None` where the data plane is none of gapless's own.
async fn proxy(info: &ServerInfo, client: &Client) -> Result<Option<Processes>, Failure> {
    let Some(plane) = info.planes.iter().find(|plane| plane.name == "proxy") else { return Ok(None) };
    let before = plane.pid.ok_or_else(|| Failure::other("the proxy does not answer; see `gapless doctor`"))?;
    tell(before, "proxy")?;
    let replaced = wait(async || {
        let info = client.server().await.ok()?;
        let plane = info.planes.into_iter().find(|plane| plane.name == "proxy" && plane.is_up)?;
        plane.pid.filter(|pid| *pid != before)
    });
    let now = replaced.await.ok_or_else(|| not_replaced("proxy"))?;
    Ok(Some(Processes { before, now }))
}

async fn server(before: ServerInfo, client: &Client) -> Result<Versions, Failure> {
    tell(before.pid, "server")?;
    let replaced = wait(async || {
        let info = client.server().await.ok()?;
        (info.started_at != before.started_at).then_some(info.version)
    });
    let now = replaced.await.ok_or_else(|| not_replaced("server"))?;
    Ok(Versions { before: before.version, now })
}

fn tell(pid: u32, role: &str) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::other(format!("the {role} says no process id")))?;
    kill_process(pid, Signal::USR2).map_err(|error| {
        Failure::other(format!("the {role}, process {}, cannot be told: {error}; run this as its user, or root", pid))
    })
}

async fn wait<T>(mut answers: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let give_up_at = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = answers().await {
            return Some(answer);
        }
        if tokio::time::Instant::now() >= give_up_at {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn not_replaced(role: &str) -> Failure {
    Failure::other(format!(
        "nothing has taken the place of the {role} within {} s, so it goes on as before; its log says why, and the \
         program at its place may be one that cannot run",
        DEADLINE.as_secs()
    ))
}

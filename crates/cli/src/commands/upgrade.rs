//! `gapless upgrade`: restarts proxy and server with the binary now on disk. As with nginx, each process gets a signal
//! and does the rest itself: the proxy starts a successor, the server executes the new program in its own process.

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

/// The time limit for the successor's first answer.
const DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// The time limit for a program to print its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// The signal that asks a process to restart with the program on disk.
pub fn signal() -> SignalKind {
    SignalKind::user_defined2()
}

/// The version that the program at `program` prints. The error is the reason why it cannot run.
pub async fn version_of(program: &Path) -> Result<String, String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_DEADLINE, command.output()).await;
    let output = output.map_err(|_| format!("it did not print its version within {} s", VERSION_DEADLINE.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match printed.trim().strip_prefix("gapless ") {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _ => Err(format!("it is not gapless, or does not run on this host: {}", output.status)),
    }
}

/// The restarted processes, as JSON.
#[derive(Serialize)]
struct Upgraded {
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Processes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Versions>,
}

/// The process ids of the proxy and its successor.
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
            return Err(Failure::usage(
                "the data plane is not gapless's own proxy; nothing to upgrade with --only=proxy",
            ));
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
        println!("proxy: process {now} has replaced {before}, which finishes its requests");
    }
    if let Some(Versions { before, now }) = &upgraded.server {
        println!("server: version {now}{}", if before == now { String::new() } else { format!(", before {before}") });
    }
    Ok(ExitCode::SUCCESS)
}

/// Restarts the proxy; `None` if the data plane is not gapless's own.
async fn proxy(info: &ServerInfo, client: &Client) -> Result<Option<Processes>, Failure> {
    let Some(plane) = info.planes.iter().find(|plane| plane.name == "proxy") else { return Ok(None) };
    let before =
        plane.pid.ok_or_else(|| Failure::other("the proxy does not answer; run `gapless doctor` to see why"))?;
    send_signal(before, "proxy")?;
    let replaced = wait(async || {
        let info = client.server().await.ok()?;
        let plane = info.planes.into_iter().find(|plane| plane.name == "proxy" && plane.is_up)?;
        plane.pid.filter(|pid| *pid != before)
    });
    let now = replaced.await.ok_or_else(|| not_replaced("proxy"))?;
    Ok(Some(Processes { before, now }))
}

async fn server(before: ServerInfo, client: &Client) -> Result<Versions, Failure> {
    send_signal(before.pid, "server")?;
    let replaced = wait(async || {
        let info = client.server().await.ok()?;
        (info.started_at != before.started_at).then_some(info.version)
    });
    let now = replaced.await.ok_or_else(|| not_replaced("server"))?;
    Ok(Versions { before: before.version, now })
}

fn send_signal(pid: u32, role: &str) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::other(format!("the {role} reported an invalid process id")))?;
    kill_process(pid, Signal::USR2).map_err(|error| {
        Failure::other(format!(
            "the {role} (process {pid}) cannot be signalled: {error}; run this command as the same user, or as root"
        ))
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
        "the {role} was not replaced within {} s and keeps running; its log says why. Check that the program on disk \
         runs: `gapless --version`",
        DEADLINE.as_secs()
    ))
}

//! A gate that is a program on the server's host: it runs in a clean environment, as an unprivileged user, in a folder
//! of its own, and all its children end with it.

use super::{GateRun, Output, failed, junit, result};
use gapless_core::gate::{GateCommand, GateResult};
use gapless_runtime::user::{self, User};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// The user of a gate if the server is root and the gate names no user.
const UNPRIVILEGED: &str = "nobody";
/// The folders that are searched for a program.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long output is read after the program and its group have ended: a process that left the group may keep it open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

pub(super) async fn run(run: &GateRun, gate: &GateCommand, proxy: Option<SocketAddr>) -> GateResult {
    match run_command(run, gate, proxy).await {
        Ok(result) => result,
        Err(why) => failed(why, &run.output),
    }
}

async fn run_command(run: &GateRun, gate: &GateCommand, proxy: Option<SocketAddr>) -> Result<GateResult, String> {
    let (program, arguments) = gate.command.split_first().ok_or("the command of the gate is empty")?;
    let user = unprivileged(gate)?;
    let folder = folder(user.as_ref()).map_err(|error| format!("cannot create a folder for the gate: {error}"))?;
    let url = proxy.map(|proxy| format!("http://{proxy}")).unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("HOME", folder.path())
        .env("GAPLESS_RESULTS", folder.path())
        .envs(run.target.variables(&url))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(user) = user {
        // This also drops the supplementary groups.
        command.uid(user.uid).gid(user.gid);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{program} cannot run: {error}; it runs as {}, so let that user read it, or set another `user`",
            gate.user.as_deref().unwrap_or(UNPRIVILEGED)
        ),
        _ => format!("{program} cannot run: {error}"),
    })?;
    let mut group = Group(child);
    let status = group.wait(&run.output).await.map_err(|error| format!("cannot wait for {program}: {error}"))?;
    drop(group);
    let summary = match status.code() {
        Some(0) => "done".to_owned(),
        Some(code) => format!("exited with code {code}"),
        None => format!("ended: {status}"),
    };
    let reported = junit::read(folder.path());
    Ok(junit::judge(result(status.success(), summary, &run.output), reported))
}

fn unprivileged(gate: &GateCommand) -> Result<Option<User>, String> {
    let name = match &gate.user {
        Some(name) => name,
        None if rustix::process::geteuid().is_root() => UNPRIVILEGED,
        None => return Ok(None),
    };
    user::find(name).map(Some).ok_or_else(|| format!("there is no user {name} on this host; set another `user`"))
}

/// An empty folder that belongs to the user.
fn folder(user: Option<&User>) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("gapless-gate-").tempdir()?;
    if let Some(user) = user {
        std::os::unix::fs::chown::<&Path>(folder.path(), Some(user.uid), Some(user.gid))?;
    }
    Ok(folder)
}

/// A program and all processes that it started, which end together.
struct Group(Child);

impl Group {
    async fn wait(&mut self, output: &Output) -> io::Result<ExitStatus> {
        let leader = self.leader().ok_or_else(|| io::Error::other("the process was already waited for"))?;
        let mut ended = pin!(gapless_runtime::ended(pidfd_open(leader, PidfdFlags::empty())?));
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let mut reading = pin!(async {
            let stdout = async {
                if let Some(stdout) = stdout {
                    output.read(stdout).await;
                }
            };
            let stderr = async {
                if let Some(stderr) = stderr {
                    output.read(stderr).await;
                }
            };
            tokio::join!(stdout, stderr);
        });
        let mut is_read = false;
        tokio::select! {
            result = &mut ended => result?,
            () = &mut reading => is_read = true,
        }
        if is_read {
            ended.await?;
        }
        self.kill();
        if !is_read {
            let _ = tokio::time::timeout(OUTPUT_GRACE, reading).await;
        }
        self.0.wait().await
    }

    /// The process id of the program; `None` after it was waited for.
    fn leader(&self) -> Option<Pid> {
        self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
    }

    /// Kills the group. Until the leader was waited for, no other group can have its number.
    fn kill(&self) {
        if let Some(leader) = self.leader() {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

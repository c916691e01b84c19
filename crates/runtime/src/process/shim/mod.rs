//! The shim: supervises one process and outlives the server. Keeps the process's output in files of bounded size,
//! records its exit, and kills all its descendants. Restarts nothing: the server decides that.

mod clock;
pub(super) mod output;

use super::cgroup;
use super::folder::{self, Plan};
use super::identity::{self, Identity};
use super::state::State;
use crate::{Exit, LogStream};
use clock::now;
use gapless_effect::{Point, step};
use output::Output;
use rustix::process::{WaitOptions, set_child_subreaper, setsid, wait};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How many rounds the remaining descendants may take to end.
const KILL_ROUNDS_MAX: u32 = 1000;
const KILL_ROUND: Duration = Duration::from_millis(5);

/// Runs the process that is planned in `folder`, until it ends.
pub fn run(folder: &Path) -> ExitCode {
    match supervise(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            let _ = fs::write(folder.join("failure"), why);
            ExitCode::FAILURE
        }
    }
}

fn supervise(folder: &Path) -> Result<(), String> {
    let plan: Plan = folder::read(&folder.join("plan.json"))
        .map_err(|error| error.to_string())?
        .ok_or("there is no plan in the folder")?;
    // A new session: no terminal and no signal to the server's group reaches this process. Fails if this process
    // already leads a session.
    let _ = setsid();
    set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|error| format!("cannot become a subreaper: {error}"))?;
    let group = cgroup::enter(&plan.name, &plan.resources);
    let output =
        Arc::new(Output::open(folder, &plan.log).map_err(|error| format!("its log cannot be written: {error}"))?);
    let mut child = spawn(&plan)?;
    let identify = |pid| match Identity::of(pid) {
        Ok(seen) => seen.ok_or_else(|| "the process ended before it was identified".to_owned()),
        Err(error) => Err(format!("the process cannot be inspected: {error}")),
    };
    let (main, shim) = (identify(child.id())?, identify(std::process::id())?);
    let state = State { shim, main, since: now(), cgroup: group.clone() };
    folder::write(&folder.join("state.json"), &state)
        .map_err(|error| format!("its state cannot be written: {error}"))?;
    let pumps = pump(&mut child, &output);
    let code = wait_for(main.pid);
    let out_of_memory = group.as_deref().is_some_and(|group| cgroup::out_of_memory_kills(group) > 0);
    // Remaining descendants would keep its output and its port open.
    kill_descendants();
    pumps.into_iter().for_each(|pump| drop(pump.join()));
    let exit = Exit { code, out_of_memory: out_of_memory && code == Some(137), at: now() };
    folder::write(&folder.join("exit.json"), &exit).map_err(|error| format!("its exit cannot be written: {error}"))
}

fn spawn(plan: &Plan) -> Result<Child, String> {
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .current_dir(&plan.directory)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    match &plan.user {
        Some(name) => {
            let user = crate::user::find(name).ok_or_else(|| format!("there is no user {name} on this host"))?;
            command.uid(user.uid).gid(user.gid).env("HOME", user.home).env("USER", name);
        }
        None => {
            command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
        }
    }
    let spawned = step(Point::ProcessProgram, || command.envs(&plan.variables).spawn());
    spawned
        .map_err(|error| format!("{} cannot be run in {}: {error}", plan.program.display(), plan.directory.display()))
}

fn pump(child: &mut Child, output: &Arc<Output>) -> Vec<std::thread::JoinHandle<()>> {
    let stdout = child.stdout.take().map(|pipe| output::pump(pipe, LogStream::Stdout, output.clone()));
    let stderr = child.stderr.take().map(|pipe| output::pump(pipe, LogStream::Stderr, output.clone()));
    [stdout, stderr].into_iter().flatten().collect()
}

/// Waits for the main process, and reaps adopted descendants meanwhile.
fn wait_for(main: u32) -> Option<i64> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_nonzero().get()) == Ok(main) => {
                let signalled = status.terminating_signal().map(|signal| i64::from(signal) + 128);
                return status.exit_status().map(i64::from).or(signalled);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn kill_descendants() {
    for _ in 0..KILL_ROUNDS_MAX {
        let left = identity::descendants(std::process::id());
        left.iter().flatten().filter_map(|pid| identity::raw(*pid)).for_each(identity::kill);
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if left.is_ok_and(|left| left.is_empty()) {
            return;
        }
        std::thread::sleep(KILL_ROUND);
    }
}

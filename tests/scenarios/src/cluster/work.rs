//! The commands during faults: deployments and rollbacks, one after another, each sent to any server.

use super::network::MACHINES;
use super::schedule::machine;
use super::story::Story;
use gapless_harness::{CommandResult, Gapless, Rng};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The maximum time for a command without further output.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

/// Deploys and rolls back until `is_over`; a command that runs then is killed, as if its terminal were closed.
/// `gaplesses` are the clients of the servers in order.
pub(super) fn work(gaplesses: &[Gapless], seed: u64, is_over: &AtomicBool, story: &Story) {
    let mut chance = Rng::new(seed);
    while !is_over.load(Ordering::Relaxed) {
        let server = machine(&mut chance);
        let arguments: &[&str] = if chance.below(4) == 0 { &["rollback"] } else { &["deploy", "--force"] };
        let child = gaplesses[server - 1].spawn(arguments);
        let ran = finish(child, PATIENCE, || is_over.load(Ordering::Relaxed));
        let said = match &ran {
            Some(ran) if ran.code == 0 => "done".to_owned(),
            Some(ran) => format!("exit code {}: {}", ran.code, ran.stderr.lines().next().unwrap_or_default()),
            None => "killed".to_owned(),
        };
        story.log(format!("server{server}: gapless {}: {said}", arguments.join(" ")));
        if ran.is_some_and(|ran| ran.code != 0) {
            // A refused client waits before it retries.
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    debug_assert!(gaplesses.len() == MACHINES);
}

/// The result of a command; `None` if it was killed, at the end of `patience` or because of `leave`.
pub(super) fn finish(mut child: Child, patience: Duration, leave: impl Fn() -> bool) -> Option<CommandResult> {
    let give_up_at = Instant::now() + patience;
    while child.try_wait().expect("the process can be waited for").is_none() {
        if leave() || Instant::now() >= give_up_at {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(POLL);
    }
    let output = child.wait_with_output().expect("the output can be read");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(CommandResult {
        code: output.status.code().unwrap_or(128),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    })
}

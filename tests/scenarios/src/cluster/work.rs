//! What goes on while faults come: deployments and rollbacks, one after the other, each asked of any server.

use super::network::MACHINES;
use super::schedule::machine;
use super::story::Story;
use gapless_harness::{Gapless, Ran, Rng};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long somebody waits in front of a command that says nothing more.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

/// Deploys and rolls back until it is told to end; a command that runs then is left alone, as by a person who closes the
/// laptop. `gaplesses` speak to the servers in their order.
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
            None => "left alone".to_owned(),
        };
        story.tell(format!("server{server}: gapless {}: {said}", arguments.join(" ")));
        if ran.is_some_and(|ran| ran.code != 0) {
            // Whoever is refused does not ask a hundred times a second.
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    debug_assert!(gaplesses.len() == MACHINES);
}

/// What became of a command; nothing where it was left alone, after that time or because of `leave`. It is ended then.
pub(super) fn finish(mut child: Child, patience: Duration, leave: impl Fn() -> bool) -> Option<Ran> {
    let give_up_at = Instant::now() + patience;
    while child.try_wait().expect("it can be waited for").is_none() {
        if leave() || Instant::now() >= give_up_at {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(POLL);
    }
    let output = child.wait_with_output().expect("it can be read");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(Ran { code: output.status.code().unwrap_or(128), stdout: text(output.stdout), stderr: text(output.stderr) })
}

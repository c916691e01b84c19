//! Waiting with a deadline.

use std::process::Child;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` has a value; panics at the deadline.
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up_at = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < give_up_at, "not within {deadline:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Waits for the exit of a process; kills it at the deadline and returns false.
pub fn ends_within(command: &mut Child, deadline: Duration) -> bool {
    let give_up_at = Instant::now() + deadline;
    while Instant::now() < give_up_at {
        if command.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        std::thread::sleep(POLL);
    }
    let _ = command.kill();
    let _ = command.wait();
    false
}

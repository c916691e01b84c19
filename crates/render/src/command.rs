//! Runs the user's shell lines, `check_cmd` and `reload_cmd`, with a deadline, and captures their output.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// How many bytes of a command's output are shown.
const SHOWN_BYTES: u64 = 16 << 10;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The shell did not start.
    #[error("`{line}` cannot be run: {error}")]
    Start {
        /// The shell line.
        line: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The command failed.
    #[error("`{line}` ended with {status}{}", with_output(output))]
    Failed {
        /// The shell line.
        line: String,
        /// The exit status.
        status: ExitStatus,
        /// The output.
        output: String,
    },
    /// The command exceeded its deadline and was killed.
    #[error("`{line}` did not end within {deadline:?} and was killed{}", with_output(output))]
    Timeout {
        /// The shell line.
        line: String,
        /// The deadline.
        deadline: Duration,
        /// The output until then.
        output: String,
    },
}

fn with_output(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(":\n{}", output.trim_end()) }
}

/// Runs a line as confd does, by `/bin/sh -c`, and returns its output.
pub async fn run(line: &str, deadline: Duration) -> Result<String, CommandError> {
    let start = |error| CommandError::Start { line: line.into(), error };
    // A file instead of a pipe: a program started by a reload may keep its output open indefinitely.
    let mut output = tempfile::tempfile().map_err(start)?;
    let (stdout, stderr) = (output.try_clone().map_err(start)?, output.try_clone().map_err(start)?);
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let Ok(ended) = tokio::time::timeout(deadline, child.wait()).await else {
        if let Some(group) = group {
            // The group may have just ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait().await;
        return Err(CommandError::Timeout { line: line.into(), deadline, output: printed(&mut output) });
    };
    let status = ended.map_err(start)?;
    let output = printed(&mut output);
    if status.success() { Ok(output) } else { Err(CommandError::Failed { line: line.into(), status, output }) }
}

fn printed(output: &mut File) -> String {
    let mut bytes = Vec::new();
    // If the output cannot be read back, it is left out.
    let _ = output.rewind().and_then(|()| output.take(SHOWN_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn output_is_captured() {
        assert_eq!(run("echo one; echo two >&2", Duration::from_secs(30)).await.unwrap(), "one\ntwo\n");
        let error = run("echo broken; exit 3", Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.to_string(), "`echo broken; exit 3` ended with exit status: 3:\nbroken");
    }

    #[tokio::test]
    async fn slow_command_is_killed_with_its_descendants() {
        let began = Instant::now();
        let error = run("echo waiting; sleep 1000 & sleep 1000", Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().ends_with("did not end within 200ms and was killed:\nwaiting"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn background_process_of_a_command_is_not_awaited() {
        let began = Instant::now();
        let printed = run("sleep 60 & echo $!", Duration::from_secs(30)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        let left = Pid::from_raw(printed.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }
}

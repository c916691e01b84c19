//! The user's own shell lines, `check_cmd` and `reload_cmd`: run with a deadline, their output kept.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// As much of a command's output as is shown.
const SHOWN_BYTES: u64 = 16 << 10;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not start.
    #[error("`{line}` cannot be run: {error}")]
    Start {
        /// The line.
        line: String,
        /// Why.
        error: std::io::Error,
    },
    /// It says no.
    #[error("`{line}` ended with {status}{}", said(output))]
    Failed {
        /// The line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// It took too long, and was ended.
    #[error("`{line}` did not end within {deadline:?}, and was ended{}", said(output))]
    Slow {
        /// The line.
        line: String,
        /// How long it had.
        deadline: Duration,
        /// What it had printed.
        output: String,
    },
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(":\n{}", output.trim_end()) }
}

/// Runs a line as confd does, by `/bin/sh -c`; answers what it printed.
pub async fn run(line: &str, deadline: Duration) -> Result<String, CommandError> {
    let start = |error| CommandError::Start { line: line.into(), error };
    // Into a file, not a pipe: what a reload starts may keep its output open for ever.
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
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait().await;
        return Err(CommandError::Slow { line: line.into(), deadline, output: printed(&mut output) });
    };
    let status = ended.map_err(start)?;
    let output = printed(&mut output);
    if status.success() { Ok(output) } else { Err(CommandError::Failed { line: line.into(), status, output }) }
}

fn printed(output: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read back is not shown.
    let _ = output.rewind().and_then(|()| output.take(SHOWN_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn what_a_command_says_is_kept() {
        assert_eq!(run("echo one; echo two >&2", Duration::from_secs(30)).await.unwrap(), "one\ntwo\n");
        let error = run("echo broken; exit 3", Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.to_string(), "`echo broken; exit 3` ended with exit status: 3:\nbroken");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
        let began = Instant::now();
        let error = run("echo waiting; sleep 1000 & sleep 1000", Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().ends_with("did not end within 200ms, and was ended:\nwaiting"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_is_not_waited_for() {
        let began = Instant::now();
        let printed = run("sleep 60 & echo $!", Duration::from_secs(30)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        let left = Pid::from_raw(printed.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }
}

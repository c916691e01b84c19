//! Reads an instance's output from the journal, which does not distinguish standard output from standard error.

use crate::{LogLine, LogQuery, LogStream, RuntimeError};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gapless_core::{InstanceName, Timestamp};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio_util::codec::{FramedRead, LinesCodec};

/// The interval at which the existence of a followed instance is checked.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// How long the journal may take to store pending output.
const SYNC_DEADLINE: Duration = Duration::from_secs(5);
/// The longest line from journalctl: it has further fields, and each byte that is not UTF-8 takes several.
const JSON_BYTES_MAX: usize = 8 * LogLine::BYTES_MAX;

/// The output of that instance, whose folder is `folder`.
pub(super) async fn logs(
    name: &InstanceName,
    folder: PathBuf,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    // Recent output may still be pending; if the sync fails, that output is missed.
    let sync =
        Command::new("journalctl").arg("--sync").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).status();
    let _ = tokio::time::timeout(SYNC_DEADLINE, sync).await;
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--no-pager", "--quiet", "--output-fields=MESSAGE"]);
    command.arg(format!("--lines={}", query.tail)).arg(format!("SYSLOG_IDENTIFIER={name}"));
    if query.follow {
        command.arg("--follow");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let failed = |why: String| RuntimeError::Failed { doing: "reading the journal".to_owned(), why };
    let mut child = command.spawn().map_err(|error| failed(format!("journalctl: {error}")))?;
    let output = child.stdout.take().ok_or_else(|| failed("journalctl has no output".to_owned()))?;
    let lines = FramedRead::new(output, LinesCodec::new_with_max_length(JSON_BYTES_MAX));
    let lines = lines.filter_map(move |line| {
        let _held = &child;
        // A line that is too long is left out.
        std::future::ready(line.ok().and_then(|line| parse(&line)).map(Ok))
    });
    if !query.follow {
        return Ok(lines.boxed());
    }
    let gone = async move {
        while folder.exists() {
            tokio::time::sleep(FOLLOW_POLL).await;
        }
    };
    Ok(lines.take_until(Box::pin(gone)).boxed())
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at_us: String,
    #[serde(rename = "MESSAGE")]
    message: Text,
}

/// A text; bytes that are not UTF-8 come as an array of numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Bytes(Vec<u8>),
}

fn parse(line: &str) -> Option<LogLine> {
    let entry: Entry = serde_json::from_str(line).ok()?;
    let mut text = match entry.message {
        Text::Text(text) => text,
        Text::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    if text.len() > LogLine::BYTES_MAX {
        text.truncate(text.floor_char_boundary(LogLine::BYTES_MAX));
    }
    Some(LogLine { at: Timestamp(entry.at_us.parse::<u64>().ok()? / 1000), stream: LogStream::Stdout, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_parsed_as_a_line_with_any_bytes() {
        let line = parse(r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"probe started"}"#).unwrap();
        assert_eq!((line.at, line.text.as_str()), (Timestamp(1_700_000_000_123), "probe started"));
        let line = parse(r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,255]}"#).unwrap();
        assert_eq!(line.text, "hi\u{fffd}");
        assert!(parse(r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#).is_none());
    }
}

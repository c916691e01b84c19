//! The output of a container, line by line, each line bounded.

use super::connection::Connection;
use super::observe::{self, instant};
use crate::{LogLine, LogQuery, LogStream, RuntimeError};
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gapless_core::InstanceName;

/// The output of the instance; empty if there is no such container.
pub(super) async fn logs(
    engine: &Connection,
    name: &InstanceName,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    let Some(id) = observe::own(engine, name).await? else { return Ok(stream::empty().boxed()) };
    let docker = engine.docker().await?.clone();
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(query.follow)
        .tail(&query.tail.to_string())
        .build();
    let (sender, receiver) = tokio::sync::mpsc::channel(LINES_WAITING_MAX);
    tokio::spawn(async move {
        let mut output = std::pin::pin!(docker.logs(&id, Some(options)));
        while let Some(Ok(chunk)) = output.next().await {
            if let Some(line) = line(chunk)
                && sender.send(Ok(line)).await.is_err()
            {
                return;
            }
        }
    });
    Ok(tokio_stream::wrappers::ReceiverStream::new(receiver).boxed())
}

/// How many lines may wait for a slow reader; the Engine waits beyond that.
const LINES_WAITING_MAX: usize = 64;

/// Parses a chunk: the Engine sends one line, or a part of a line over 16 KiB, with its instant in front.
fn line(chunk: LogOutput) -> Option<LogLine> {
    let (stream, message): (_, Bytes) = match chunk {
        LogOutput::StdErr { message } => (LogStream::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogStream::Stdout, message),
        LogOutput::StdIn { .. } => return None,
    };
    let text = String::from_utf8_lossy(message.get(..LogLine::BYTES_MAX).unwrap_or(&message)).into_owned();
    let text = text.trim_end_matches(['\n', '\r']);
    let (at, text) = text.split_once(' ').unwrap_or((text, ""));
    Some(LogLine { at: instant(Some(at)), stream, text: text.to_owned() })
}

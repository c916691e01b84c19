//! Reading what the shim wrote.

use crate::{LogLine, LogQuery, LogStream, RuntimeError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gapless_core::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// What is read at a time of a followed log.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The output of the instance in `folder`; empty where there is none.
pub(super) async fn logs(
    folder: PathBuf,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    let read = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || tail(&folder, query.tail)
    });
    let (lines, position) = read.await.unwrap_or_default();
    let lines = stream::iter(lines.into_iter().map(Ok));
    if !query.follow {
        return Ok(lines.boxed());
    }
    let following = stream::unfold((folder, position), |(folder, position)| async move {
        loop {
            tokio::time::sleep(FOLLOW_POLL).await;
            if !folder.exists() {
                return None;
            }
            let (lines, position) = tokio::task::spawn_blocking({
                let folder = folder.clone();
                let mut position = position.clone();
                move || (position.read_on(&folder).unwrap_or_default(), position)
            })
            .await
            .ok()?;
            if !lines.is_empty() || position.has_moved {
                return Some((stream::iter(lines.into_iter().map(Ok)), (folder, position)));
            }
        }
    });
    Ok(lines.chain(following.flatten()).boxed())
}

/// The last lines, and where a follower goes on behind them.
fn tail(folder: &Path, count: usize) -> (Vec<LogLine>, Position) {
    let (newest, position) = Position::after_all(folder);
    let mut lines: Vec<_> = newest.split(|byte| *byte == b'\n').filter_map(parse).collect();
    for index in 1.. {
        if lines.len() >= count {
            break;
        }
        let Ok(text) = fs::read(folder.join(format!("log.{index}"))) else { break };
        let mut older: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(parse).collect();
        older.append(&mut lines);
        lines = older;
    }
    lines.drain(..lines.len().saturating_sub(count));
    (lines, position)
}

/// Where a follower is in the newest file; known again after a rotation by its inode.
#[derive(Debug, Clone, Default)]
struct Position {
    inode: u64,
    offset: u64,
    /// Whether anything was read, even half a line.
    has_moved: bool,
    rest: Vec<u8>,
}

impl Position {
    /// The whole lines of the newest file, and the place behind them. Both are of one reading: what is written in between
    /// two would be told to nobody.
    fn after_all(folder: &Path) -> (Vec<u8>, Self) {
        let read = || -> io::Result<(Vec<u8>, Position)> {
            let mut file = File::open(folder.join("log.0"))?;
            let inode = file.metadata()?.ino();
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let offset = text.len() as u64;
            let rest = text.split_off(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
            Ok((text, Position { inode, offset, rest, has_moved: false }))
        };
        // There is none before the first line.
        read().unwrap_or_default()
    }

    fn read_on(&mut self, folder: &Path) -> io::Result<Vec<LogLine>> {
        self.has_moved = false;
        let newest = folder.join("log.0");
        let rotated = folder.join("log.1");
        let is_same = |path: &Path| fs::metadata(path).is_ok_and(|file| file.ino() == self.inode);
        if is_same(&newest) {
            return self.read_file(&newest);
        }
        // Rotated since: the rest of the old file, then the new one from its beginning.
        let mut lines = if is_same(&rotated) { self.read_file(&rotated)? } else { Vec::new() };
        if let Ok(file) = fs::metadata(&newest) {
            (self.inode, self.offset) = (file.ino(), 0);
            self.rest.clear();
            lines.append(&mut self.read_file(&newest)?);
        }
        Ok(lines)
    }

    fn read_file(&mut self, path: &Path) -> io::Result<Vec<LogLine>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let count = file.take(READ_BYTES_MAX).read_to_end(&mut self.rest)?;
        self.offset += count as u64;
        self.has_moved |= count > 0;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(whole.split(|byte| *byte == b'\n').filter_map(parse).collect())
    }
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let text = String::from_utf8_lossy(line);
    let mut parts = text.splitn(3, ' ');
    let at = Timestamp(parts.next()?.parse().ok()?);
    let stream = match parts.next()? {
        "o" => LogStream::Stdout,
        "e" => LogStream::Stderr,
        _ => return None,
    };
    Some(LogLine { at, stream, text: parts.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_half_written_when_following_begins_is_told_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.0");
        fs::write(&file, "1 o one\n2 o tw").unwrap();
        let (lines, mut position) = tail(folder.path(), 10);
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["one"]);
        fs::write(&file, "1 o one\n2 o two\n3 o three\n").unwrap();
        let lines = position.read_on(folder.path()).unwrap();
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["two", "three"]);
        assert_eq!(position.read_on(folder.path()).unwrap(), []);
    }
}

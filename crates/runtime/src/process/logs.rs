//! Reads the shim's log files.

use crate::{LogLine, LogQuery, LogStream, RuntimeError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gapless_core::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// The interval at which a followed log is polled.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// Bytes of a followed log in one read.
const READ_BYTES_MAX: u64 = 1 << 20;
/// A line in place of files that were deleted before the follower read them.
const MISSED: &str = "(lines are missing here: the output grew faster than it was read)";

/// The output of the instance in `folder`; empty if there is none.
pub(super) async fn logs(
    folder: PathBuf,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    let read = tokio::task::spawn_blocking(move || tail(folder, query.tail));
    let Ok((lines, follower)) = read.await else { return Ok(stream::empty().boxed()) };
    let lines = stream::iter(lines.into_iter().map(Ok));
    if !query.follow {
        return Ok(lines.boxed());
    }
    let following = stream::unfold(follower, |mut follower| async move {
        loop {
            if !follower.is_behind {
                tokio::time::sleep(FOLLOW_POLL).await;
            }
            // Checked before the read: the last lines are in the open file, even if it was deleted since.
            let is_gone = !follower.folder.exists();
            let read = tokio::task::spawn_blocking(move || (follower.read_more().unwrap_or_default(), follower));
            let lines;
            (lines, follower) = read.await.ok()?;
            if !lines.is_empty() {
                return Some((stream::iter(lines.into_iter().map(Ok)), follower));
            }
            if is_gone && !follower.is_behind {
                return None;
            }
        }
    });
    Ok(lines.chain(following.flatten()).boxed())
}

/// The last lines, and a follower that continues after them.
fn tail(folder: PathBuf, count: usize) -> (Vec<LogLine>, Follower) {
    let (newest, follower) = Follower::after_all(folder);
    let mut lines = parse_all(&newest);
    for index in 1.. {
        if lines.len() >= count {
            break;
        }
        let Ok(text) = fs::read(follower.file_name(index)) else { break };
        let mut older = parse_all(&text);
        older.append(&mut lines);
        lines = older;
    }
    lines.drain(..lines.len().saturating_sub(count));
    (lines, follower)
}

/// Reads on from a position in the log. Keeps its file open, so that it reads the rest of a file that was renamed or
/// deleted before it continues with the next file.
#[derive(Debug)]
struct Follower {
    folder: PathBuf,
    /// `None` before the first line.
    file: Option<File>,
    /// The bytes of an incomplete line.
    rest: Vec<u8>,
    /// There may be more to read at once.
    is_behind: bool,
    /// Files were deleted before they were read, and [`MISSED`] is not sent yet.
    has_missed: bool,
}

impl Follower {
    /// The complete lines of the newest file, and a follower that continues after them. Both come from one read: a line
    /// written between two reads would be lost.
    fn after_all(folder: PathBuf) -> (Vec<u8>, Self) {
        let mut follower = Follower { folder, file: None, rest: Vec::new(), is_behind: false, has_missed: false };
        let Ok(mut file) = File::open(follower.file_name(0)) else { return (Vec::new(), follower) };
        let mut text = Vec::new();
        // If the read fails, returns the part that was read.
        let _ = file.read_to_end(&mut text);
        follower.file = Some(file);
        follower.rest = text.split_off(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        (text, follower)
    }

    fn file_name(&self, index: usize) -> PathBuf {
        self.folder.join(format!("log.{index}"))
    }

    /// The next complete lines, if there are any.
    fn read_more(&mut self) -> io::Result<Vec<LogLine>> {
        if self.read()? == 0
            && let Some((next, is_next)) = self.next()?
        {
            // Reads the old file again: its last line is complete by now.
            if self.read()? == 0 {
                self.rest.clear();
                self.file = Some(next);
                self.has_missed |= !is_next;
                self.read()?;
            }
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let mut lines = parse_all(&whole);
        if let Some(at) = lines.first().map(|line| line.at).filter(|_| std::mem::take(&mut self.has_missed)) {
            lines.insert(0, LogLine { at, stream: LogStream::Stderr, text: MISSED.to_owned() });
        }
        Ok(lines)
    }

    /// Reads a piece and returns its number of bytes.
    fn read(&mut self) -> io::Result<usize> {
        self.is_behind = false;
        let Some(file) = &mut self.file else { return Ok(0) };
        let count = file.take(READ_BYTES_MAX).read_to_end(&mut self.rest)?;
        self.is_behind = count > 0;
        Ok(count)
    }

    /// The file after the current one, if the current one is no longer the newest; `false` if files in between were
    /// deleted.
    fn next(&self) -> io::Result<Option<(File, bool)>> {
        let Some(present) = &self.file else {
            return Ok(File::open(self.file_name(0)).ok().map(|first| (first, true)));
        };
        let inode = present.metadata()?.ino();
        let has = |index: usize| fs::metadata(self.file_name(index)).map(|file| file.ino() == inode);
        let mut index = 0;
        loop {
            match has(index) {
                Ok(true) if index == 0 => return Ok(None),
                Ok(true) => {
                    let newer = File::open(self.file_name(index - 1))?;
                    // If files were renamed meanwhile, `newer` may be another file.
                    return Ok(has(index)?.then_some((newer, true)));
                }
                Ok(false) => index += 1,
                // Files are being renamed; the next poll will do.
                Err(_) if index == 0 || has(index + 1).is_ok() => return Ok(None),
                // The current file was deleted; whether later files were deleted too is unknown.
                Err(_) => return Ok(Some((File::open(self.file_name(index - 1))?, false))),
            }
        }
    }
}

fn parse_all(text: &[u8]) -> Vec<LogLine> {
    text.split(|byte| *byte == b'\n').filter_map(parse).collect()
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
    use crate::process::shim::output::Output;
    use gapless_core::spec::LogRotation;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// All lines that can be read now.
    fn all(follower: &mut Follower) -> Vec<LogLine> {
        let mut lines = follower.read_more().unwrap();
        while follower.is_behind {
            lines.extend(follower.read_more().unwrap());
        }
        lines
    }

    #[test]
    fn line_is_returned_once_and_whole_when_following_starts_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.0");
        fs::write(&file, "1 o one\n2 o tw").unwrap();
        let (lines, mut follower) = tail(folder.path().to_owned(), 10);
        assert_eq!(texts(&lines), ["one"]);
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"o\n3 o three\n").unwrap();
        assert_eq!(texts(&follower.read_more().unwrap()), ["two", "three"]);
        assert_eq!(follower.read_more().unwrap(), []);
    }

    /// The writer of an instance's output, with files of two lines each.
    fn output(folder: &Path, file_count: u16) -> Output {
        Output::open(folder, &LogRotation { file_bytes: 50, file_count }).unwrap()
    }

    #[test]
    fn slow_follower_reads_remaining_files_and_learns_of_deleted_ones() {
        for (file_count, missing) in [(5, 0), (3, 2), (1, 6)] {
            let folder = tempfile::tempdir().unwrap();
            let output = output(folder.path(), file_count);
            output.write(LogStream::Stdout, b"line 0");
            let (lines, mut follower) = tail(folder.path().to_owned(), 10);
            assert_eq!(texts(&lines), ["line 0"]);
            for count in 1..10 {
                output.write(LogStream::Stdout, format!("line {count}").as_bytes());
            }
            let read = all(&mut follower);
            let mut lines_read = texts(&read);
            // The rest of the open file is read in any case.
            assert_eq!(lines_read.remove(0), "line 1", "{file_count} files");
            let expected: Vec<_> = (2 + missing..10).map(|count| format!("line {count}")).collect();
            if missing > 0 {
                assert_eq!(lines_read.remove(0), MISSED, "{file_count} files");
            }
            assert_eq!(lines_read, expected, "{file_count} files");
            output.write(LogStream::Stderr, b"and on");
            assert_eq!(texts(&all(&mut follower)).last(), Some(&"and on"));
        }
    }

    #[tokio::test]
    async fn last_lines_are_returned_when_the_instance_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path(), &LogRotation { file_bytes: 1000, file_count: 3 }).unwrap();
        output.write(LogStream::Stdout, b"first words");
        let mut lines = logs(folder.path().to_owned(), LogQuery { tail: 10, follow: true }).await.unwrap();
        assert_eq!(texts(&[lines.next().await.unwrap().unwrap()]), ["first words"]);
        output.write(LogStream::Stdout, b"last words");
        drop(folder);
        let rest: Vec<LogLine> = lines.map(Result::unwrap).collect().await;
        assert_eq!(texts(&rest), ["last words"]);
    }

    #[test]
    fn fast_follower_reads_each_line_once() {
        for file_count in [2, 3] {
            let folder = tempfile::tempdir().unwrap();
            let (_, mut follower) = tail(folder.path().to_owned(), 10);
            assert_eq!(follower.read_more().unwrap(), []);
            let output = output(folder.path(), file_count);
            for count in 0..20 {
                output.write(LogStream::Stdout, format!("line {count}").as_bytes());
                let line = format!("line {count}");
                assert_eq!(texts(&all(&mut follower)), [line.as_str()], "{file_count} files");
            }
        }
    }
}

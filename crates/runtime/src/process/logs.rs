//! Reading what the shim wrote.

use crate::{LogLine, LogQuery, LogStream, RuntimeError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gapless_core::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// What is read at a time of a followed log.
const READ_BYTES_MAX: u64 = 1 << 20;
/// What a follower is told where files have gone before it read them.
const MISSED: &str = "(more was written than could be followed: lines are missing here)";

/// The output of the instance in `folder`; empty where there is none.
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
            // What was written last is in the file that is open, also where it has been removed since.
            let is_gone = !follower.folder.exists();
            let read = tokio::task::spawn_blocking(move || (follower.read_on().unwrap_or_default(), follower));
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

/// The last lines, and who follows what comes behind them.
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

/// Somebody who reads on. The file is kept open: whatever its name is by now, or if it has none any more, what is left of
/// it is read before the next one.
#[derive(Debug)]
struct Follower {
    folder: PathBuf,
    /// None before the first line.
    file: Option<File>,
    /// What was read of a line that is not whole yet.
    rest: Vec<u8>,
    /// Whether there may be more right now.
    is_behind: bool,
    /// Whether files have gone before they were read, which was not told yet.
    has_missed: bool,
}

impl Follower {
    /// The whole lines of the newest file, and who goes on behind them. Both are of one reading: what is written in
    /// between two would be told to nobody.
    fn after_all(folder: PathBuf) -> (Vec<u8>, Self) {
        let mut follower = Follower { folder, file: None, rest: Vec::new(), is_behind: false, has_missed: false };
        let Ok(mut file) = File::open(follower.file_name(0)) else { return (Vec::new(), follower) };
        let mut text = Vec::new();
        // Of a file that cannot be read no more is told than was.
        let _ = file.read_to_end(&mut text);
        follower.file = Some(file);
        follower.rest = text.split_off(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        (text, follower)
    }

    fn file_name(&self, index: usize) -> PathBuf {
        self.folder.join(format!("log.{index}"))
    }

    /// The next whole lines, if there are any yet.
    fn read_on(&mut self) -> io::Result<Vec<LogLine>> {
        if self.read()? == 0
            && let Some((next, is_next)) = self.next()?
        {
            // The one before has got its last line by now.
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

    /// Reads a piece; how many bytes.
    fn read(&mut self) -> io::Result<usize> {
        self.is_behind = false;
        let Some(file) = &mut self.file else { return Ok(0) };
        let count = file.take(READ_BYTES_MAX).read_to_end(&mut self.rest)?;
        self.is_behind = count > 0;
        Ok(count)
    }

    /// The file behind the present one, if that is not the newest any more, and whether none has gone in between.
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
                    // If files were renamed meanwhile, it is another one.
                    return Ok(has(index)?.then_some((newer, true)));
                }
                Ok(false) => index += 1,
                // Files are being renamed; the next look is as good.
                Err(_) if index == 0 || has(index + 1).is_ok() => return Ok(None),
                // It has gone, and whether others after it have nobody knows.
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

    /// Everything that there is to be read.
    fn all(follower: &mut Follower) -> Vec<LogLine> {
        let mut lines = follower.read_on().unwrap();
        while follower.is_behind {
            lines.extend(follower.read_on().unwrap());
        }
        lines
    }

    #[test]
    fn a_line_that_is_half_written_when_following_begins_is_told_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.0");
        fs::write(&file, "1 o one\n2 o tw").unwrap();
        let (lines, mut follower) = tail(folder.path().to_owned(), 10);
        assert_eq!(texts(&lines), ["one"]);
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"o\n3 o three\n").unwrap();
        assert_eq!(texts(&follower.read_on().unwrap()), ["two", "three"]);
        assert_eq!(follower.read_on().unwrap(), []);
    }

    /// The writer of an instance's output, with files of two lines each.
    fn output(folder: &Path, file_count: u16) -> Output {
        Output::open(folder, &LogRotation { file_bytes: 50, file_count }).unwrap()
    }

    #[test]
    fn a_follower_that_is_slow_reads_all_files_that_are_there_and_is_told_of_those_that_have_gone() {
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
            let mut told = texts(&read);
            // What was in the open file comes in any case.
            assert_eq!(told.remove(0), "line 1", "{file_count} files");
            let expected: Vec<_> = (2 + missing..10).map(|count| format!("line {count}")).collect();
            if missing > 0 {
                assert_eq!(told.remove(0), MISSED, "{file_count} files");
            }
            assert_eq!(told, expected, "{file_count} files");
            output.write(LogStream::Stderr, b"and on");
            assert_eq!(texts(&all(&mut follower)).last(), Some(&"and on"));
        }
    }

    #[tokio::test]
    async fn the_last_words_of_an_instance_that_is_gone_are_told() {
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
    fn a_follower_that_keeps_up_is_told_each_line_and_nothing_else() {
        for file_count in [2, 3] {
            let folder = tempfile::tempdir().unwrap();
            let (_, mut follower) = tail(folder.path().to_owned(), 10);
            assert_eq!(follower.read_on().unwrap(), []);
            let output = output(folder.path(), file_count);
            for count in 0..20 {
                output.write(LogStream::Stdout, format!("line {count}").as_bytes());
                let line = format!("line {count}");
                assert_eq!(texts(&all(&mut follower)), [line.as_str()], "{file_count} files");
            }
        }
    }
}

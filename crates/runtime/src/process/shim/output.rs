//! Writes a process's output line by line into files of bounded size; the oldest file is deleted.
//!
//! A line in a file is `MILLISECONDS o|e TEXT`.

use super::clock::now;
use crate::{Lines, LogLine, LogStream};
use gapless_core::spec::LogRotation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The files of an instance's output: `log.0` is the newest.
pub(crate) struct Output {
    folder: PathBuf,
    rotation: LogRotation,
    current: Mutex<Current>,
}

struct Current {
    file: File,
    bytes: u64,
}

impl Output {
    pub(crate) fn open(folder: &Path, rotation: &LogRotation) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join("log.0"))?;
        let bytes = file.metadata()?.len();
        Ok(Output {
            folder: folder.to_owned(),
            rotation: rotation.clone(),
            current: Mutex::new(Current { file, bytes }),
        })
    }

    /// Writes a line. An error, such as a full disk, loses only that line: the process must not stall.
    pub(crate) fn write(&self, stream: LogStream, text: &[u8]) {
        let mark = match stream {
            LogStream::Stdout => 'o',
            LogStream::Stderr => 'e',
        };
        let mut line = format!("{} {mark} ", now().0).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.bytes > 0 && current.bytes + line.len() as u64 > self.rotation.file_bytes {
            match self.rotate() {
                Ok(file) => *current = Current { file, bytes: 0 },
                Err(_) => return,
            }
        }
        if current.file.write_all(&line).is_ok() {
            current.bytes += line.len() as u64;
        }
    }

    fn rotate(&self) -> io::Result<File> {
        let name = |index: u16| self.folder.join(format!("log.{index}"));
        let unless_missing = |done: io::Result<()>| match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let oldest = self.rotation.file_count.max(1) - 1;
        // Deleted, never overwritten: a follower may still be reading it.
        unless_missing(fs::remove_file(name(oldest)))?;
        (1..=oldest).rev().try_for_each(|index| unless_missing(fs::rename(name(index - 1), name(index))))?;
        OpenOptions::new().create(true).write(true).truncate(true).open(name(0))
    }
}

/// Copies a pipe to the log until its end, in bounded memory.
pub(super) fn pump(mut pipe: impl Read + Send + 'static, stream: LogStream, output: Arc<Output>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut lines = Lines::bounded(LogLine::BYTES_MAX);
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => lines.take(&buffer[..count], |line| output.write(stream, line)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lines.end(|line| output.write(stream, line));
    })
}

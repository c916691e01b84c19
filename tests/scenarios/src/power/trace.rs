//! The changes that processes made to the files below a folder, in order, from the log of `strace`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The calls that change files. [`read`] panics at an unknown call, so that no change is missed.
const CALLS: &str = "open,openat,creat,lseek,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,\
                     copy_file_range,sendfile,splice,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,\
                     link,linkat,symlink,symlinkat,fsync,fdatasync,sync_file_range,syncfs,msync";

/// Longer strings are cut off in the log: the writes of SQLite, the proxy and the process records are shorter, only
/// programs are longer.
const PIECE_BYTES_MAX: usize = 65 << 10;

/// The command prefix that traces a command and all of its children, without being their parent.
pub(crate) fn recorder(log: &Path, syncs: Syncs) -> Vec<String> {
    let words = ["strace", "-D", "-f", "-qq", "-y", "-xx", "-e", "signal=none", "-s"];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.extend([PIECE_BYTES_MAX.to_string(), "-e".to_owned(), format!("trace={CALLS}")]);
    if syncs == Syncs::FailAtTimes {
        words.extend(["-e", "inject=fsync,fdatasync:error=EIO:when=30+7"].map(str::to_owned));
    }
    words.extend(["-o".to_owned(), log.display().to_string()]);
    words
}

/// The results of syncs during a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncs {
    /// Every sync succeeds.
    Well,
    /// Some syncs fail: their data may be lost, even if the next sync succeeds.
    FailAtTimes,
}

/// Written data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// The number of bytes, which are not in the log.
    Unknown(usize),
}

/// A change of the files below the folder; paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A file was opened; `makes`: it may have been created, `empties`: it was truncated.
    Open { path: PathBuf, makes: bool, empties: bool },
    /// Bytes at a position, or at the end.
    Write { path: PathBuf, at: Option<usize>, data: Data },
    /// A new length.
    Truncate { path: PathBuf, length: usize },
    /// A new name.
    Rename { from: PathBuf, to: PathBuf },
    /// A removed name.
    Remove { path: PathBuf },
    /// A new folder.
    MakeFolder { path: PathBuf },
    /// A sync of a file or a folder; after a failure the content of the disk is unknown.
    Sync { path: PathBuf, failed: bool },
}

/// A change with its place in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) change: Change,
    /// The number of events that had ended when this event started.
    pub(crate) began_after: usize,
    /// The length of the log when this event had ended.
    pub(crate) log_bytes: u64,
}

/// Parses a log into the changes below `folder/name`, and the syncs of `folder` itself.
///
/// # Panics
/// If a call or a line is unknown.
pub(crate) fn read(log: &[u8], folder: &Path, name: &str) -> Vec<Event> {
    let mut reader = Reader { folder, name, begun: HashMap::new(), positions: HashMap::new(), events: Vec::new() };
    let mut log_bytes = 0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        log_bytes += line.len() as u64;
        let text = std::str::from_utf8(line).expect("strings are in hexadecimal digits");
        reader.line(text.trim_end(), log_bytes);
    }
    reader.events
}

struct Reader<'a> {
    folder: &'a Path,
    name: &'a str,
    /// Started calls by thread: their text, and the number of events at that time.
    begun: HashMap<String, (String, usize)>,
    /// Positions of threads in files after `lseek`.
    positions: HashMap<(String, PathBuf), usize>,
    events: Vec<Event>,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, log_bytes: u64) {
        let (thread, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        // Signals, exits, and calls that a kill interrupted.
        if rest.starts_with("+++") || rest.starts_with("---") || rest.ends_with("<detached ...>") {
            return;
        }
        if let Some(call) = rest.strip_suffix(" <unfinished ...>") {
            self.begun.insert(thread.to_owned(), (call.to_owned(), self.events.len()));
            return;
        }
        let (call, began_after) = match rest.strip_prefix("<... ") {
            None => (rest.to_owned(), self.events.len()),
            Some(resumed) => {
                let (begun, began_after) = self.begun.remove(thread).unwrap_or_else(|| panic!("resumed: {line}"));
                let (_, end) = resumed.split_once(" resumed>").unwrap_or_else(|| panic!("resumed: {line}"));
                (begun + end, began_after)
            }
        };
        let changes = self.call(thread, &call);
        self.events.extend(changes.into_iter().map(|change| Event { change, began_after, log_bytes }));
    }

    fn call(&mut self, thread: &str, call: &str) -> Option<Change> {
        let (name, rest) = call.split_once('(').unwrap_or_else(|| panic!("no call: {call}"));
        let (arguments, result) = rest.split_once(") ").unwrap_or_else(|| panic!("no result: {call}"));
        let result = result.trim_start().trim_start_matches("= ");
        let failed = result.starts_with('-') || result.starts_with('?');
        let arguments = split(arguments);
        let of = |at: usize| arguments.get(at).copied().unwrap_or_default();
        let number = |text: &str| text.parse::<usize>().ok();
        let is_sync = matches!(name, "fsync" | "fdatasync");
        if failed && !is_sync {
            return None;
        }
        match name {
            "lseek" => {
                let path = self.below(descriptor(of(0))?)?;
                self.positions.insert((thread.to_owned(), path), number(result)?);
                None
            }
            "open" | "creat" => self.opened(of(0), of(1), name == "creat"),
            "openat" => self.opened(of(1), of(2), false),
            "write" | "writev" => {
                let path = self.below(descriptor(of(0))?)?;
                let written = number(result).unwrap_or_else(|| panic!("how much: {call}"));
                let data = if name == "write" { data(of(1), written) } else { pieces(of(1), written) };
                let at = self.positions.remove(&(thread.to_owned(), path.clone()));
                Some(Change::Write { path, at, data })
            }
            "pwrite64" => {
                let path = self.below(descriptor(of(0))?)?;
                let written = number(result).unwrap_or_else(|| panic!("how much: {call}"));
                Some(Change::Write { path, at: number(of(3)), data: data(of(1), written) })
            }
            "ftruncate" => {
                let path = self.below(descriptor(of(0))?)?;
                Some(Change::Truncate { path, length: number(of(1))? })
            }
            "rename" => self.renamed(of(0), of(1)),
            "renameat" | "renameat2" => self.renamed(of(1), of(3)),
            "unlink" | "rmdir" => Some(Change::Remove { path: self.below(string(of(0))?)? }),
            // By the descriptor of the folder and a name, as whole trees are removed.
            "unlinkat" => Some(Change::Remove { path: self.at(of(0), of(1))? }),
            "mkdir" => Some(Change::MakeFolder { path: self.below(string(of(0))?)? }),
            "mkdirat" => Some(Change::MakeFolder { path: self.at(of(0), of(1))? }),
            "fsync" | "fdatasync" => Some(Change::Sync { path: self.below(descriptor(of(0))?)?, failed }),
            other => {
                let mut paths =
                    arguments.iter().filter_map(|argument| descriptor(argument).or_else(|| string(argument)));
                assert!(!paths.any(|path| self.below(path).is_some()), "{other} is not known: {call}");
                None
            }
        }
    }

    fn opened(&self, path: &str, flags: &str, is_creat: bool) -> Option<Change> {
        let has = |flag: &str| is_creat || flags.split('|').any(|other| other == flag);
        let (makes, empties) = (has("O_CREAT"), has("O_TRUNC"));
        (makes || empties).then(|| Some(Change::Open { path: self.below(string(path)?)?, makes, empties }))?
    }

    fn renamed(&self, from: &str, to: &str) -> Option<Change> {
        let (from, to) = (self.below(string(from)?), self.below(string(to)?));
        assert_eq!(from.is_some(), to.is_some(), "a file was moved into the folder or out of it");
        Some(Change::Rename { from: from?, to: to? })
    }

    fn at(&self, folder: &str, name: &str) -> Option<PathBuf> {
        self.below(descriptor(folder)?.join(string(name)?))
    }

    /// The path below the folder, if it is watched. The shared memory of SQLite's log (`-shm`) is rebuilt from the log
    /// and needs no disk.
    fn below(&self, path: PathBuf) -> Option<PathBuf> {
        let path = path.strip_prefix(self.folder).ok()?.to_owned();
        let is_watched = path.as_os_str().is_empty() || path.starts_with(self.name);
        (is_watched && !path.as_os_str().as_bytes().ends_with(b"-shm")).then_some(path)
    }
}

/// The arguments, split at the commas outside of brackets; strings have no commas, since they are hexadecimal.
fn split(arguments: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(arguments[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[from..].trim());
    parts
}

/// The path of `3<path>`; none if the file has no name any more.
fn descriptor(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    path.strip_suffix('>').map(|path| PathBuf::from(OsStr::from_bytes(&bytes(path))))
}

/// The path in quotes.
fn string(argument: &str) -> Option<PathBuf> {
    let text = argument.strip_prefix('"')?.strip_suffix('"')?;
    Some(PathBuf::from(OsStr::from_bytes(&bytes(text))))
}

fn data(argument: &str, written: usize) -> Data {
    if argument.ends_with("...") {
        return Data::Unknown(written);
    }
    let mut data = bytes(argument.trim_matches('"'));
    data.truncate(written);
    Data::Bytes(data)
}

/// The data of `[{iov_base="…", iov_len=…}, …]`.
fn pieces(argument: &str, written: usize) -> Data {
    let mut all = Vec::new();
    for piece in argument.split("iov_base=").skip(1) {
        let Some((text, rest)) = piece.trim_start_matches('"').split_once('"') else { return Data::Unknown(written) };
        if rest.starts_with("...") {
            return Data::Unknown(written);
        }
        all.extend(bytes(text));
    }
    all.truncate(written);
    Data::Bytes(all)
}

/// The bytes of `\x68\x65…`.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {digits:?}"));
    text.split("\\x").skip(1).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"\
7 openat(AT_FDCWD<\\x2f>, \"\\x2f\\x73\\x2f\\x61\", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3<\\x2f\\x73\\x2f\\x61>
7 lseek(3<\\x2f\\x73\\x2f\\x61>, 32, SEEK_SET) = 32
7 write(3<\\x2f\\x73\\x2f\\x61>, \"\\x68\\x69\", 2 <unfinished ...>
8 fsync(4<\\x2f\\x73\\x2f\\x61> <unfinished ...>
7 <... write resumed>) = 2
8 <... fsync resumed>) = 0
7 writev(3<\\x2f\\x73\\x2f\\x61>, [{iov_base=\"\\x61\", iov_len=1}, {iov_base=\"\\x63\\x64\", iov_len=2}], 2) = 3
7 write(1<\\x2f\\x6f\\x75\\x74>, \"\\x61\", 1) = 1
7 fdatasync(3<\\x2f\\x73\\x2f\\x61>) = -1 EIO (Input/output error) (INJECTED)
7 unlink(\"\\x2f\\x73\\x2f\\x62\") = -1 ENOENT (No such file or directory)
7 write(3<\\x2f\\x73\\x2f\\x61>, \"\\x61\"..., 200000) = 200000
7 rename(\"\\x2f\\x73\\x2f\\x61\", \"\\x2f\\x73\\x2f\\x62\") = 0
7 +++ exited with 0 +++
";

    #[test]
    fn trace_log_is_parsed_into_events() {
        let events = read(LOG, Path::new("/"), "s");
        let (a, b) = (PathBuf::from("s/a"), PathBuf::from("s/b"));
        let write = |at, bytes: &[u8]| Change::Write { path: a.clone(), at, data: Data::Bytes(bytes.to_vec()) };
        let expected = [
            Change::Open { path: a.clone(), makes: true, empties: true },
            write(Some(32), b"hi"),
            Change::Sync { path: a.clone(), failed: false },
            write(None, b"acd"),
            Change::Sync { path: a.clone(), failed: true },
            Change::Write { path: a.clone(), at: None, data: Data::Unknown(200_000) },
            Change::Rename { from: a.clone(), to: b },
        ];
        assert_eq!(events.iter().map(|event| &event.change).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        // The sync started before the write had ended, so it need not cover the write.
        assert_eq!(events[2].began_after, 1);
        assert_eq!(events[1].log_bytes as usize, LOG.split_inclusive(|b| *b == b'\n').take(5).flatten().count());
    }
}

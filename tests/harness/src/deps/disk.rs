//! Disks that fail: calls of the system that give errors, and small file systems that can be filled.

use crate::system;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const FOLDER: &str = "GAPLESS_SICK_FOLDER";
/// How long a test in a namespace may take, so that one that waits for ever comes to an end.
const LIFETIME: &str = "240";

/// Calls of processes, all their threads and what they start, that fail for as long as this is kept.
pub struct FailingSyscalls {
    strace: Child,
    log: tempfile::NamedTempFile,
}

impl FailingSyscalls {
    /// Those calls (`fsync,fdatasync`) of those processes fail with that error (`EIO`) from now on.
    ///
    /// # Panics
    /// Where `strace` is missing, or may not do that.
    #[must_use]
    pub fn begin(processes: &[u32], calls: &str, error: &str) -> FailingSyscalls {
        let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}"), "-o"]);
        command.arg(log.path());
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = command.stderr(Stdio::piped()).spawn().expect("this test needs `strace`");
        // It says so of each process, once it has all of its threads.
        let said = BufReader::new(strace.stderr.take().expect("it is a pipe"));
        let attached =
            said.lines().map_while(Result::ok).filter(|line| line.contains("attached")).take(processes.len());
        assert_eq!(attached.count(), processes.len(), "strace may not look at other processes here");
        FailingSyscalls { strace, log }
    }

    /// How many calls have failed.
    #[must_use]
    pub fn count(&self) -> usize {
        fs::read_to_string(self.log.path()).unwrap_or_default().lines().filter(|line| line.contains("INJECTED")).count()
    }
}

impl Drop for FailingSyscalls {
    fn drop(&mut self) {
        // It lets go of the processes before it ends.
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}

/// Runs the ignored test `name` of this program in a mount namespace of its own, which is gone with it.
///
/// # Panics
/// Where that test fails, or there can be no namespace.
pub fn in_namespace(name: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut unshare = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        unshare.push("--map-root-user");
    }
    let output = Command::new("timeout")
        .args([LIFETIME, "unshare"])
        .args(unshare)
        .arg(std::env::current_exe().expect("this program is a file"))
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .expect("this test needs `unshare` of util-linux, and to be root or allowed user namespaces");
    // What a test leaves that failed: its folder is in the variables of all of it.
    system::processes(folder.path()).iter().for_each(|process| system::kill(process.pid));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The folder of a test that [`in_namespace`] runs; none where somebody else does.
#[must_use]
pub fn namespace_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Mounts at `folder`, which is made, what the arguments say.
///
/// # Panics
/// Where that cannot be mounted.
pub fn mount(arguments: &[&str], folder: &Path) {
    fs::create_dir_all(folder).expect("a folder can be made");
    let output = Command::new("mount").args(arguments).arg(folder).output().expect("this test needs `mount`");
    assert!(output.status.success(), "this test needs to mount: {output:?}");
}

/// Fills the file system that `file` is on to its last byte.
///
/// # Panics
/// Where it never becomes full.
pub fn fill(file: &Path) {
    let mut ballast = fs::File::create(file).expect("a file can be made");
    let block = vec![0_u8; 1 << 20];
    for size in [1 << 20, 4096, 1] {
        let full = (0..1 << 20).find_map(|_| std::io::Write::write_all(&mut ballast, &block[..size]).err());
        let error = full.expect("it becomes full");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }
}

//! Failing disks: system calls that return errors, and small file systems that can be filled.

use crate::system;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const FOLDER: &str = "GAPLESS_SICK_FOLDER";
/// The lifetime of a test in a namespace, in seconds, so that a blocked test ends.
const LIFETIME: &str = "240";

/// System calls of processes, with their threads and children, that fail until this is dropped.
pub struct FailingSyscalls {
    strace: Child,
    log: tempfile::NamedTempFile,
}

impl FailingSyscalls {
    /// Makes these calls (`fsync,fdatasync`) of these processes fail with this error (`EIO`).
    ///
    /// # Panics
    /// If `strace` is missing or is not permitted to trace.
    #[must_use]
    pub fn start(processes: &[u32], calls: &str, error: &str) -> FailingSyscalls {
        let log = tempfile::NamedTempFile::new().expect("a temporary file can be created");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}"), "-o"]);
        command.arg(log.path());
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = command.stderr(Stdio::piped()).spawn().expect("this test needs `strace`");
        // strace reports each process once it has attached to all of its threads.
        let said = BufReader::new(strace.stderr.take().expect("stderr is piped"));
        let attached =
            said.lines().map_while(Result::ok).filter(|line| line.contains("attached")).take(processes.len());
        assert_eq!(attached.count(), processes.len(), "strace is not permitted to trace other processes");
        FailingSyscalls { strace, log }
    }

    /// The number of failed calls.
    #[must_use]
    pub fn count(&self) -> usize {
        fs::read_to_string(self.log.path()).unwrap_or_default().lines().filter(|line| line.contains("INJECTED")).count()
    }
}

impl Drop for FailingSyscalls {
    fn drop(&mut self) {
        // On SIGTERM strace detaches from the processes before it exits.
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}

/// Runs the ignored test `name` of this program in a mount namespace of its own.
///
/// # Panics
/// If that test fails, or no namespace can be created.
pub fn in_namespace(name: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let mut unshare = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        unshare.push("--map-root-user");
    }
    let output = Command::new("timeout")
        .args([LIFETIME, "unshare"])
        .args(unshare)
        .arg(std::env::current_exe().expect("the test program is a file"))
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .expect("this test needs `unshare` of util-linux, and to be root or allowed user namespaces");
    // Remains of a failed test: their environment names the folder.
    system::processes(folder.path()).iter().for_each(|process| system::kill(process.pid));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The folder of a test that [`in_namespace`] runs; `None` if the test was started in another way.
#[must_use]
pub fn namespace_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Creates `folder` and mounts there, with these arguments of `mount`.
///
/// # Panics
/// If the mount fails.
pub fn mount(arguments: &[&str], folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be created");
    let output = Command::new("mount").args(arguments).arg(folder).output().expect("this test needs `mount`");
    assert!(output.status.success(), "this test needs to mount: {output:?}");
}

/// Fills the file system of `file` to its last byte.
///
/// # Panics
/// If it never becomes full.
pub fn fill(file: &Path) {
    let mut ballast = fs::File::create(file).expect("the file can be created");
    let block = vec![0_u8; 1 << 20];
    for size in [1 << 20, 4096, 1] {
        let full = (0..1 << 20).find_map(|_| std::io::Write::write_all(&mut ballast, &block[..size]).err());
        let error = full.expect("the disk becomes full");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }
}

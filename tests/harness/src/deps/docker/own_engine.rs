//! A test's own Docker Engine: its images and containers on a small disk in memory, its networks and its firewall in a
//! namespace that the test enters, too. It needs root.

use crate::cli::CommandResult;
use crate::deps::netns::Namespace;
use crate::system;
use crate::wait::{ends_within, wait_for};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The size of its disk.
const DISK: &str = "384m";
/// The maximum time to start, including its containers, or to stop.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The Engine. It is removed with all of its containers when this is dropped.
pub struct OwnEngine {
    folder: tempfile::TempDir,
    has_live_restore: bool,
    process: Option<Child>,
    /// Its network namespace; removed after the Engine.
    _namespace: Namespace,
}

impl OwnEngine {
    /// Starts an Engine with these images of the host's Engine, and moves this thread, with all later children, into
    /// the Engine's network namespace.
    ///
    /// # Panics
    /// If this process is not root.
    #[must_use]
    pub fn start(images: &[&str]) -> Self {
        OwnEngine::start_with(images, false)
    }

    /// The same with `live-restore`: containers keep running while the Engine is away and after it returns.
    ///
    /// # Panics
    /// If this process is not root.
    #[must_use]
    pub fn start_with_live_restore(images: &[&str]) -> Self {
        OwnEngine::start_with(images, true)
    }

    fn start_with(images: &[&str], has_live_restore: bool) -> Self {
        let namespace = Namespace::entered("engine");
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let mut engine = OwnEngine { folder, has_live_restore, process: None, _namespace: namespace };
        std::fs::create_dir(engine.disk()).expect("the folder can be created");
        let disk = engine.disk().display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={DISK}"), "gapless-sick", &disk]);
        engine.restart();
        for image in images {
            engine.load(image);
        }
        engine
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Its data folder.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts it after it has exited, and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the Engine runs");
        self.spawn();
        let give_up_at = Instant::now() + DEADLINE;
        while self.docker(&["version"]).code != 0 {
            assert!(Instant::now() < give_up_at, "the engine does not answer:\n{}", self.log());
            // dockerd exits while the containerd of a killed predecessor is still exiting.
            if self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|status| status.is_some())) {
                self.spawn();
            }
            std::thread::sleep(POLL);
        }
    }

    fn spawn(&mut self) {
        self.forget_pids();
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("the log can be written");
        let within = |what: &str| self.folder.path().join(what);
        let process = Command::new("dockerd")
            .arg("--data-root")
            .arg(self.disk())
            .arg("--exec-root")
            .arg(within("exec"))
            .arg("--pidfile")
            .arg(within("pid"))
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            // Containers have networks of their own.
            .args(["--bridge", "none", "--shutdown-timeout", "5"])
            .args(self.has_live_restore.then_some("--live-restore"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .process_group(0)
            .spawn();
        self.process = Some(process.expect("dockerd is installed"));
    }

    /// Returns whether it was neither killed nor stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it with SIGKILL. Its containers keep running; without `live-restore` only until its next start.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the process runs");
        process.kill().expect("the process can be killed");
        process.wait().expect("the process can be waited for");
    }

    /// Stops it in order: it stops its containers first.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The process may have exited already.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&process), rustix::process::Signal::TERM);
        ends_within(&mut process, DEADLINE);
    }

    /// Sends it a signal, such as SIGSTOP: then it accepts connections and does nothing.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().expect("the process runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal)
            .expect("the process can be signalled");
    }

    /// Runs `docker` on this Engine.
    #[must_use]
    pub fn docker(&self, words: &[&str]) -> CommandResult {
        let output = Command::new("docker").arg("--host").arg(self.host()).args(words).output();
        let output = output.expect("docker can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        CommandResult { code: output.status.code().unwrap_or(-1), stdout, stderr }
    }

    /// Runs `docker` on this Engine, which must succeed, and returns its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.docker(words);
        assert_eq!(ran.code, 0, "docker {words:?}: {ran:?}\n{}", self.log());
        ran.stdout
    }

    /// Runs `docker` on this Engine, which must succeed, and returns the lines of its output.
    #[must_use]
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        self.ok(words).lines().map(str::to_owned).collect()
    }

    /// Fills its disk to the last byte, and keeps it full while the Engine removes files, until the result is dropped.
    #[must_use]
    pub fn fill(&self) -> FullDisk {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let disk = self.disk();
        let file = disk.join("filler");
        let filler = File::create(&file).expect("the file can be created");
        let mut length = 0;
        let mut fill = move || {
            let free = rustix::fs::statvfs(&disk).map_or(0, |free| free.f_bavail * free.f_frsize);
            // Another process may have taken the space; the rest is filled in the next turn.
            if free > 0 && rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), length, free).is_ok() {
                length += free;
            }
            free
        };
        while fill() > 0 {}
        let filling = std::thread::spawn(move || {
            while is_over.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                fill();
            }
        });
        FullDisk { file, over: Some(over), filling: Some(filling) }
    }

    /// The value of `DOCKER_HOST` for this Engine.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn load(&self, image: &str) {
        let mut saving =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker can be run");
        let saved = saving.stdout.take().expect("stdout is piped");
        let loaded = Command::new("docker").arg("--host").arg(self.host()).arg("load").stdin(saved).output();
        let loaded = loaded.expect("docker can be run");
        let saved = saving.wait().expect("the process can be waited for");
        assert!(saved.success() && loaded.status.success(), "{image} cannot be loaded: {loaded:?}");
    }

    /// Removes the pid files of a killed Engine and its containerd; their numbers may belong to other processes by now.
    fn forget_pids(&self) {
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let file = self.folder.path().join(file);
            let pid = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let its = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let folder = self.folder.path().display().to_string();
            wait_for("the killed Engine has exited", DEADLINE, || {
                pid.is_none_or(|pid| !its(pid).contains(&folder)).then_some(())
            });
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A disk that is kept full.
pub struct FullDisk {
    file: PathBuf,
    over: Option<Sender<()>>,
    filling: Option<JoinHandle<()>>,
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(filling) = self.filling.take() {
            let _ = filling.join();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if self.process.is_none() {
            // The next Engine ends the containers that are still running.
            self.restart();
        }
        self.signal(rustix::process::Signal::CONT);
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let all: Vec<&str> = ["rm", "--force", "--volumes"].into_iter().chain(all.lines()).collect();
        let _ = self.docker(&all);
        self.stop();
        // Shims of containers that a killed Engine forgot.
        system::processes(self.folder.path()).iter().for_each(|process| system::kill(process.pid));
        let _ = Command::new("umount").arg("--recursive").arg(self.disk()).status();
    }
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said} (needs root)", words.join(" "));
}

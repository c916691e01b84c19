//! A Docker Engine of a test's own: its images and containers on a small disk in memory, its networks and its firewall in a
//! namespace that the test is in, too. It takes root.

use crate::cli::Ran;
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

/// How much its disk holds.
const DISK: &str = "384m";
/// How long it may take to start, with containers to start again, or to end.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The Engine. It is gone with all that it runs when it is dropped.
pub struct OwnEngine {
    folder: tempfile::TempDir,
    has_live_restore: bool,
    process: Option<Child>,
    /// What it is in; gone after it.
    _namespace: Namespace,
}

impl OwnEngine {
    /// Starts one that has these images of the host's Engine, and has this thread, and what it starts from now on, be in
    /// the Engine's network namespace.
    ///
    /// # Panics
    /// If that is not allowed here.
    #[must_use]
    pub fn start(images: &[&str]) -> Self {
        OwnEngine::begin(images, false)
    }

    /// The same with `live-restore`: what was running when it was killed goes on when it comes back, too.
    ///
    /// # Panics
    /// If that is not allowed here.
    #[must_use]
    pub fn start_with_live_restore(images: &[&str]) -> Self {
        OwnEngine::begin(images, true)
    }

    fn begin(images: &[&str], has_live_restore: bool) -> Self {
        let namespace = Namespace::entered("engine");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut engine = OwnEngine { folder, has_live_restore, process: None, _namespace: namespace };
        std::fs::create_dir(engine.disk()).expect("a folder can be made");
        let disk = engine.disk().display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={DISK}"), "gapless-sick", &disk]);
        engine.start_again();
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

    /// Where it keeps everything.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts it after it has ended, and waits until it answers.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.spawn();
        let give_up_at = Instant::now() + DEADLINE;
        while self.docker(&["version"]).code != 0 {
            assert!(Instant::now() < give_up_at, "the engine does not answer:\n{}", self.log());
            // It gives up where the containerd of one that was killed is still about to go.
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
            // Containers are in networks of their own.
            .args(["--bridge", "none", "--shutdown-timeout", "5"])
            .args(self.has_live_restore.then_some("--live-restore"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .process_group(0)
            .spawn();
        self.process = Some(process.expect("dockerd is installed"));
    }

    /// Whether it has not been killed or ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it with SIGKILL: its containers go on, without `live-restore` until it is started again.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it can be waited for");
    }

    /// Ends it in an orderly way, and its containers before.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // It may have ended already.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&process), rustix::process::Signal::TERM);
        ends_within(&mut process, DEADLINE);
    }

    /// Stops it as it is, or lets it go on: it accepts connections, and does nothing.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).expect("it can be signalled");
    }

    /// Runs `docker` on it.
    #[must_use]
    pub fn docker(&self, words: &[&str]) -> Ran {
        let output = Command::new("docker").arg("--host").arg(self.host()).args(words).output();
        let output = output.expect("docker can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ran { code: output.status.code().unwrap_or(-1), stdout, stderr }
    }

    /// Runs `docker` on it, to a good end: what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.docker(words);
        assert_eq!(ran.code, 0, "docker {words:?}: {ran:?}\n{}", self.log());
        ran.stdout
    }

    /// The lines that `docker` prints.
    #[must_use]
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        self.ok(words).lines().map(str::to_owned).collect()
    }

    /// Fills its disk to the last byte, and keeps it full while its Engine removes things, until the answer is dropped.
    #[must_use]
    pub fn fill(&self) -> FullDisk {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let disk = self.disk();
        let file = disk.join("filler");
        let filler = File::create(&file).expect("a file can be made");
        let mut length = 0;
        let mut fill = move || {
            let free = rustix::fs::statvfs(&disk).map_or(0, |free| free.f_bavail * free.f_frsize);
            // Somebody may have taken it in between; what is left is taken the next time.
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

    /// The value of `DOCKER_HOST` that names it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn load(&self, image: &str) {
        let mut saving =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker can be run");
        let saved = saving.stdout.take().expect("it is piped");
        let loaded = Command::new("docker").arg("--host").arg(self.host()).arg("load").stdin(saved).output();
        let loaded = loaded.expect("docker can be run");
        let saved = saving.wait().expect("it can be waited for");
        assert!(saved.success() && loaded.status.success(), "{image} cannot be loaded: {loaded:?}");
    }

    /// One that was killed leaves what says that it and its containerd run; the numbers may be other processes' by now.
    fn forget_pids(&self) {
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let file = self.folder.path().join(file);
            let pid = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let its = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let folder = self.folder.path().display().to_string();
            wait_for("what was killed has gone", DEADLINE, || {
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
            // What runs is ended by the Engine that finds it.
            self.start_again();
        }
        self.signal(rustix::process::Signal::CONT);
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let all: Vec<&str> = ["rm", "--force", "--volumes"].into_iter().chain(all.lines()).collect();
        let _ = self.docker(&all);
        self.stop();
        // What supervised a container that an Engine which was killed forgot.
        system::processes(self.folder.path()).iter().for_each(|process| system::kill(process.pid));
        let _ = Command::new("umount").arg("--recursive").arg(self.disk()).status();
    }
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said} (it takes root)", words.join(" "));
}

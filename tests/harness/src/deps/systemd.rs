//! A host run by systemd: a container in which systemd is process 1, with its own hierarchy of control groups.

use super::docker::docker;
use crate::cli::CommandResult;
use crate::programs::program;
use crate::wait::wait_for;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The image that `scripts/lib/systemd-image.sh` builds.
const IMAGE: &str = "gapless-systemd:2";
/// The maximum time to boot.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
/// The command of process 1. It mounts a control group hierarchy of version 2 for the container alone; the host's stays
/// as it is.
const BOOT: &str =
    "umount -l /sys/fs/cgroup; mount -o remount,rw /sys; mount -t cgroup2 none /sys/fs/cgroup && exec /sbin/init";

/// A booted host, removed when this is dropped.
pub struct SystemdHost {
    name: String,
    folder: tempfile::TempDir,
}

impl SystemdHost {
    /// Boots a host. The built programs are in its `/opt/gapless`, and [`SystemdHost::folder`] is its `/srv`.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let name = format!("gapless-booted-{name}-{}", std::process::id());
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let built = program().parent().expect("the program is in a folder").to_owned();
        let mount = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let host = SystemdHost { name: name.clone(), folder };
        let mut run = vec!["run", "--detach", "--name", &name];
        // All requests to the host come from inside the container.
        run.extend(["--network", "none"]);
        run.extend(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined"]);
        run.extend(["--security-opt", "systempaths=unconfined", "--device-cgroup-rule", "a *:* rwm"]);
        run.extend(["--tmpfs", "/run:exec,mode=755", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"]);
        run.extend(["--env", "container=docker", "--stop-signal", "SIGRTMIN+3", "--cgroupns=private"]);
        let (built, shared) = (mount(&built, "/opt/gapless:ro"), mount(host.folder.path(), "/srv"));
        run.extend(["--volume", &built, "--volume", &shared, IMAGE, "/bin/sh", "-c", BOOT]);
        docker(&run).ok();
        host.wait_until_booted();
        host
    }

    /// The folder that is `/srv` in the host.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs a command in the host.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> CommandResult {
        let exec = ["exec", "--workdir", "/srv", &self.name];
        let all: Vec<&str> = exec.into_iter().chain(words.iter().copied()).collect();
        docker(&all).0
    }

    /// Runs a command in the host, which must succeed, and returns its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        if ran.code != 0 {
            let journal = self.run(&["journalctl", "--no-pager", "-n", "60"]);
            panic!("{words:?}: {ran:?}\n{}", journal.stdout);
        }
        ran.stdout
    }

    /// Runs gapless in the host.
    pub fn gapless(&self, words: &[&str]) -> String {
        let all: Vec<&str> = std::iter::once("/opt/gapless/gapless").chain(words.iter().copied()).collect();
        self.ok(&all)
    }

    /// Sends requests of this mix (see `gapless-ledger --help`) to port 80 of the host during `work`, from a service of
    /// its own; returns the ledger's report.
    pub fn under_load(&self, mix: &str, work: impl FnOnce()) -> Value {
        let ledger =
            ["/opt/gapless/gapless-ledger", "--address", "127.0.0.1:80", "--rate", "200", "--mix", mix, "--json"];
        let began = ["systemd-run", "--unit", "load", "--property", "StandardOutput=truncate:/srv/load.json"];
        let all: Vec<&str> = began.into_iter().chain(ledger).collect();
        self.ok(&all);
        work();
        // On stop, the ledger finishes its requests and writes the report.
        self.ok(&["systemctl", "stop", "load"]);
        let text = std::fs::read_to_string(self.folder.path().join("load.json")).expect("the report is there");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The answer of port 80 of the host, if its status is 200; through a connection of bash, since the image has no
    /// HTTP client.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        const ASK: &str = "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' \"$0\" >&3; cat <&3";
        let ran = self.run(&["timeout", "20", "bash", "-c", ASK, path]);
        (ran.code == 0 && ran.stdout.starts_with("HTTP/1.1 200")).then_some(ran.stdout)
    }

    /// Returns whether this unit is active.
    #[must_use]
    pub fn is_active(&self, unit: &str) -> bool {
        self.run(&["systemctl", "is-active", "--quiet", unit]).code == 0
    }

    /// Reboots the host. Written files stay.
    pub fn reboot(&self) {
        docker(&["restart", "--time", "60", &self.name]).ok();
        self.wait_until_booted();
    }

    fn wait_until_booted(&self) {
        wait_for("systemd has booted", BOOT_DEADLINE, || {
            let said = self.run(&["systemctl", "is-system-running"]).stdout;
            // Degraded: some units cannot start in a container.
            matches!(said.trim(), "running" | "degraded").then_some(())
        });
    }
}

impl Drop for SystemdHost {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

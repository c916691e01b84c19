//! A real nginx follows the rules of a data plane.

// Helpers of tests: failing is their purpose.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use gapless_plane::conformance::{self, Subject};
use gapless_plane::nginx::{Nginx, NginxConfig};
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// An nginx that ends with its workers when this value is dropped.
struct Running {
    master: Child,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM ends the workers, too; a killed master would leave them behind.
        let master = i32::try_from(self.master.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(master) = master {
            let _ = rustix::process::kill_process(master, rustix::process::Signal::TERM);
        }
        let _ = self.master.wait();
    }
}

/// A port of the loopback interface that nothing listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn main_configuration(folder: &Path, other: SocketAddr) -> String {
    let shown = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {shown}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 2;\npid {shown}/nginx.pid;\nerror_log {shown}/error.log info;\n\
         events {{ worker_connections 512; }}\nhttp {{\n    access_log off;\n{temporary}    \
         server {{ listen {other}; return 200 other; }}\n    include {shown}/gapless.d/*.conf;\n}}\n"
    )
}

async fn start() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    // The workers run as another user and read the pages.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let settings = NginxConfig {
        config_dir: folder.path().join("gapless.d"),
        binary: "nginx".into(),
        config: folder.path().join("nginx.conf"),
        pid_file: folder.path().join("nginx.pid"),
        status: free_address(),
        listen: vec![free_address()],
        worker_generations_max: 8,
        container: None,
        template: None,
    };
    let other = free_address();
    fs::create_dir(&settings.config_dir).unwrap();
    fs::write(&settings.config, main_configuration(folder.path(), other)).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&settings.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let master = command.spawn().expect("nginx must be installed: ./scripts/test does that");
    let address = settings.listen[0];
    let docker = Arc::new(DockerRuntime::connect(DockerConfig::default()).unwrap());
    let running = Running { master, _folder: folder };
    let give_up_at = Instant::now() + DEADLINE;
    while TcpStream::connect(other).is_err() || !settings.pid_file.exists() {
        assert!(Instant::now() < give_up_at, "nginx does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    Subject { plane: Arc::new(Nginx::new(settings, docker)), address, guard: Box::new(running) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_conforms() {
    conformance::all(start).await;
}

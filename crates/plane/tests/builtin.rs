//! The builtin proxy follows the rules of a data plane, and the suite detects a driver that does not.

// Helpers of tests: failing is their purpose.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use gapless_api::PlaneInfo;
use gapless_core::RouteTable;
use gapless_core::routes::RouteChange;
use gapless_plane::builtin::{Builtin, ProxyProcess, Supervisor};
use gapless_plane::conformance::{self, Subject};
use gapless_plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus};
use gapless_proxy::control::Client;
use gapless_proxy::{Limits, ProxyConfig};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

const DEADLINE: Duration = Duration::from_secs(30);

/// A proxy in a thread of its own, stopped when it is dropped.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            thread.join().unwrap();
        }
    }
}

async fn start() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let config = ProxyConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        inherited: Vec::new(),
        control_socket: folder.path().join("proxy.sock"),
        table_file: folder.path().join("table.json"),
        workers: 2,
        replace: false,
        limits: Limits::default(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = config.clone();
    let stopped = async {
        let _ = stopped.await;
    };
    let thread = std::thread::spawn(move || gapless_proxy::serve(running, stopped).unwrap());
    let client = Client::new(&config.control_socket);
    let status = tokio::time::timeout(DEADLINE, async {
        loop {
            match client.status().await {
                Ok(status) => return status,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let address = status.await.expect("the proxy must answer in time").listen[0];
    let process = ProxyProcess {
        command: Vec::new(),
        is_own: false,
        control_socket: config.control_socket,
        table_file: config.table_file,
        log: folder.path().join("proxy.log"),
        listen: vec![address],
    };
    let plane = Arc::new(Builtin::new(Supervisor::idle(process)));
    let guard = Running { stop: Some(stop), thread: Some(thread), _folder: folder };
    Subject { plane, address, guard: Box::new(guard) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builtin_proxy_conforms() {
    conformance::all(start).await;
}

/// A driver with a planted bug: acknowledges each change and applies it a moment later.
struct EarlyAck(Arc<dyn DataPlane>);

#[async_trait]
impl DataPlane for EarlyAck {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn info(&self) -> PlaneInfo {
        self.0.info().await
    }

    async fn check(&self) -> Result<String, String> {
        self.0.check().await
    }

    async fn replace(&self, table: &RouteTable) -> Result<ApplyReport, PlaneError> {
        self.0.replace(table).await
    }

    async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
        let (plane, change) = (self.0.clone(), change.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            plane.change(&change).await
        });
        Ok(ApplyReport::default())
    }

    async fn status(&self) -> Result<PlaneStatus, PlaneError> {
        self.0.status().await
    }

    async fn wait_for_change(&self, within: Duration) {
        self.0.wait_for_change(within).await;
    }
}

#[test]
fn suite_fails_when_change_is_acknowledged_before_it_is_applied() {
    let early = async || {
        let Subject { plane, address, guard } = start().await;
        Subject { plane: Arc::new(EarlyAck(plane)), address, guard }
    };
    // In a thread of its own, whose panic is the result.
    let suite = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(conformance::all(early));
    };
    assert!(std::thread::spawn(suite).join().is_err(), "the suite did not notice the planted bug");
}

//! The process runtime without file descriptors. In a test program of its own, since the limit applies to the whole
//! process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use gapless_core::Millis;
use gapless_runtime::Runtime;
use gapless_runtime::conformance::running;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{example, key, plan, runtime, service};

/// How many inspections have to fail, and how many to succeed, while descriptors come and go.
const INSPECTIONS: usize = 300;

/// Failure A21: limits.
#[tokio::test]
async fn no_process_counts_as_dead_when_descriptors_run_out() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let plan = plan(&runtime, service(&example("probe"))).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    let before = runtime.list(&key()).await.unwrap();

    let is_over = Arc::new(AtomicBool::new(false));
    let switch = std::thread::spawn({
        let (is_over, most) = (is_over.clone(), getrlimit(Resource::Nofile));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                for current in [Some(3), most.current] {
                    setrlimit(Resource::Nofile, Rlimit { current, maximum: most.maximum }).unwrap();
                    std::thread::yield_now();
                }
            }
        }
    });
    let (mut seen, mut unseen, give_up_at) = (0, 0, Instant::now() + Duration::from_secs(60));
    while (seen < INSPECTIONS || unseen < INSPECTIONS) && Instant::now() < give_up_at {
        match runtime.list(&key()).await {
            Ok(listed) => {
                assert_eq!(listed, before);
                seen += 1;
            }
            Err(_) => unseen += 1,
        }
        // The instance runs, so a start does nothing, or fails.
        let _ = runtime.start(&plan).await;
    }
    is_over.store(true, Ordering::Relaxed);
    switch.join().unwrap();
    assert!(seen >= INSPECTIONS && unseen >= INSPECTIONS, "{seen} inspections succeeded, {unseen} failed");

    assert_eq!(runtime.list(&key()).await.unwrap(), before);
    runtime.stop(&plan.name, Millis(3_000)).await.unwrap();
    assert_eq!(runtime.list(&key()).await.unwrap(), []);
}

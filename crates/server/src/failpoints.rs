//! Wraps every driver of the control plane, so that tests can make each write and each outside effect fail at the
//! points of `gapless_effect`. A new method of one of the traits does not compile here until it has its point. Without
//! the feature `failpoints`, the drivers stay as they are.

use crate::gates::GateRunner;
use crate::runtimes::Runtimes;
use gapless_plane::DataPlane;
use gapless_store::Store;
use std::sync::Arc;

/// The store, with failpoints.
pub(crate) fn store(store: Arc<dyn Store>) -> Arc<dyn Store> {
    #[cfg(feature = "failpoints")]
    let store = Arc::new(drivers::Failing(store));
    store
}

/// The runtimes, with failpoints.
pub(crate) fn runtimes(runtimes: Runtimes) -> Runtimes {
    #[cfg(feature = "failpoints")]
    let runtimes = Runtimes {
        docker: Arc::new(drivers::Failing(runtimes.docker)),
        process: Arc::new(drivers::Failing(runtimes.process)),
        systemd: Arc::new(drivers::Failing(runtimes.systemd)),
        has_systemd: runtimes.has_systemd,
    };
    runtimes
}

/// The data plane, with failpoints.
pub(crate) fn plane(plane: Arc<dyn DataPlane>) -> Arc<dyn DataPlane> {
    #[cfg(feature = "failpoints")]
    let plane = Arc::new(drivers::Failing(plane));
    plane
}

/// The runner of gates and hooks, with failpoints.
pub(crate) fn gates(runner: GateRunner) -> GateRunner {
    #[cfg(feature = "failpoints")]
    let runner = drivers::gates(runner);
    runner
}

#[cfg(feature = "failpoints")]
mod drivers {
    use crate::gates::GateRunner;
    use crate::records::APPLICATIONS;
    use async_trait::async_trait;
    use futures_util::stream::BoxStream;
    use gapless_api::PlaneInfo;
    use gapless_core::gate::GateResult;
    use gapless_core::routes::RouteChange;
    use gapless_core::spec::Workload;
    use gapless_core::{AppKey, Artifacts, InstanceName, Millis, RouteTable};
    use gapless_effect::{Fault, Point, around, faulted};
    use gapless_plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus};
    use gapless_runtime::{
        InstancePlan, InstanceStatus, LogLine, LogQuery, ProgressSink, Runtime, RuntimeError, RuntimeEvent,
    };
    use gapless_store::{Entry, Op, Outcome, Range, Store, StoreError, Txn, WatchBatch};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    pub(super) struct Failing<D>(pub(super) D);

    fn store(fault: Fault) -> StoreError {
        StoreError::Unavailable { place: "the store under test".to_owned(), why: fault.to_string() }
    }

    fn runtime(fault: Fault) -> RuntimeError {
        RuntimeError::Failed { doing: "an effect under test".to_owned(), why: fault.to_string() }
    }

    fn plane(fault: Fault) -> PlaneError {
        PlaneError::Away(fault.to_string())
    }

    fn point_of(txn: &Txn) -> Point {
        let of_application = |op: &Op| match op {
            Op::Put(key, _) | Op::Delete(key) => key.starts_with(APPLICATIONS),
        };
        if txn.ops.iter().any(of_application) { Point::StoreApplication } else { Point::StoreOther }
    }

    #[async_trait]
    impl Store for Failing<Arc<dyn Store>> {
        fn allowed(&self) -> Result<(), StoreError> {
            self.0.allowed()
        }

        async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
            around(Point::StoreRead, store, self.0.range(prefix)).await
        }

        async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
            around(Point::StoreRead, store, self.0.get(key)).await
        }

        async fn commit(&self, txn: Txn) -> Result<Outcome, StoreError> {
            around(point_of(&txn), store, self.0.commit(txn)).await
        }

        async fn watch(
            &self,
            prefix: &str,
            from: u64,
        ) -> Result<BoxStream<'static, Result<WatchBatch, StoreError>>, StoreError> {
            around(Point::StoreRead, store, self.0.watch(prefix, from)).await
        }
    }

    #[async_trait]
    impl Runtime for Failing<Arc<dyn Runtime>> {
        async fn prepare(&self, workload: &Workload, progress: ProgressSink) -> Result<String, RuntimeError> {
            around(Point::RuntimePrepare, runtime, self.0.prepare(workload, progress)).await
        }

        async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError> {
            around(Point::RuntimeStart, runtime, self.0.start(plan)).await
        }

        async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError> {
            around(Point::RuntimeList, runtime, self.0.list(key)).await
        }

        async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError> {
            around(Point::RuntimeList, runtime, self.0.list_all()).await
        }

        async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
            around(Point::RuntimeStop, runtime, self.0.stop(name, grace)).await
        }

        async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError> {
            around(Point::RuntimeFreeze, runtime, self.0.freeze(name)).await
        }

        async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError> {
            around(Point::RuntimeThaw, runtime, self.0.thaw(name)).await
        }

        async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError> {
            around(Point::RuntimeKeep, runtime, self.0.keep(key, kept)).await
        }

        async fn set_restart(&self, name: &InstanceName, comes_back: bool) -> Result<(), RuntimeError> {
            around(Point::RuntimeSetRestart, runtime, self.0.set_restart(name, comes_back)).await
        }

        // Read-only methods that only people use: they decide nothing.

        async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError> {
            self.0.look_up(workload).await
        }

        async fn logs(
            &self,
            name: &InstanceName,
            query: LogQuery,
        ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
            self.0.logs(name, query).await
        }

        async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
            self.0.events().await
        }

        async fn listening_ports(&self, name: &InstanceName) -> Vec<u16> {
            self.0.listening_ports(name).await
        }

        async fn check(&self) -> Result<String, RuntimeError> {
            self.0.check().await
        }
    }

    #[async_trait]
    impl DataPlane for Failing<Arc<dyn DataPlane>> {
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
            around(Point::PlaneReplace, plane, self.0.replace(table)).await
        }

        async fn change(&self, change: &RouteChange) -> Result<ApplyReport, PlaneError> {
            around(Point::PlaneChange, plane, self.0.change(change)).await
        }

        async fn status(&self) -> Result<PlaneStatus, PlaneError> {
            around(Point::PlaneStatus, plane, self.0.status()).await
        }

        async fn wait_for_change(&self, within: Duration) {
            self.0.wait_for_change(within).await;
        }
    }

    pub(super) fn gates(runner: GateRunner) -> GateRunner {
        Arc::new(move |run| {
            let runner = runner.clone();
            Box::pin(async move {
                let failed = |fault: Fault| GateResult {
                    passed: false,
                    summary: fault.to_string(),
                    lines: Vec::new(),
                    tests: None,
                    latency: None,
                };
                if let Err(fault) = faulted(Point::Gate, "before").await {
                    return failed(fault);
                }
                let result = runner(run).await;
                match faulted(Point::Gate, "after").await {
                    Ok(()) => result,
                    Err(fault) => failed(fault),
                }
            })
        })
    }
}

//! Conformance tests that every runtime must pass; `tests/docker` and `tests/process.rs` run them on real runtimes.
//!
//! The program under test listens on `$PORT`, exits with code 0 on SIGTERM, prints a line when it starts, and exits
//! with code 7 soon after its start if `$EXIT` is set.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::{InstancePlan, InstanceState, InstanceStatus, LogQuery, Runtime, SiblingService};
use futures_util::StreamExt;
use gapless_core::spec::Service;
use gapless_core::{AppKey, InstanceName, Millis, PlacementId, ServiceName, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a condition may take to become true.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
const GRACE: Millis = Millis(5_000);

/// A runtime under test.
pub struct Subject<F> {
    /// Creates a runtime on the same state, as a restarted server does.
    pub make: F,
    /// The application of the instances.
    pub key: AppKey,
    /// A service that sends its own name to each client, or if `$ASK` is set the name that the service `$ASK` (in
    /// capitals) sends.
    pub service: Service,
}

impl<R: Runtime, F: Fn() -> R> Subject<F> {
    /// Runs the whole suite.
    pub async fn all(&self) {
        self.creation_is_idempotent().await;
        self.stop_is_idempotent().await;
        self.second_runtime_on_the_same_state_lists_the_same().await;
        self.exit_is_listed_with_its_code_and_last_output().await;
        self.start_after_an_exit_is_a_new_run().await;
        self.instance_listed_while_it_starts_has_one_run().await;
        self.application_lists_only_its_own_instances().await;
        self.end_is_notified_at_once().await;
        self.output_is_followed().await;
        self.taken_port_is_reported_with_its_owner().await;
        self.frozen_instance_resumes_as_the_same_run_or_stops().await;
        self.services_reach_each_other_only_within_their_slot().await;
        assert_eq!((self.make)().list_all().await.unwrap(), [], "instances are left over");
    }

    async fn creation_is_idempotent(&self) {
        let runtime = (self.make)();
        let plan = self.plan(1, &[]).await;
        runtime.start(&plan).await.unwrap();
        let first = running(&runtime, &plan.name).await;
        runtime.start(&plan).await.unwrap();
        let second = running(&runtime, &plan.name).await;
        assert_eq!(first.1, second.1, "the same run of the same instance");
        assert_eq!(runtime.list(key_of(&plan)).await.unwrap().len(), 1);
        assert!(runtime.listening_ports(&plan.name).await.contains(&first.0.port()));
        runtime.stop(&plan.name, GRACE).await.unwrap();
    }

    async fn stop_is_idempotent(&self) {
        let runtime = (self.make)();
        let plan = self.plan(2, &[]).await;
        runtime.start(&plan).await.unwrap();
        let (address, _) = running(&runtime, &plan.name).await;
        for _ in 0..2 {
            runtime.stop(&plan.name, GRACE).await.unwrap();
            assert_eq!(runtime.list(key_of(&plan)).await.unwrap(), []);
        }
        assert!(TcpStream::connect(address).await.is_err(), "the instance still listens");
    }

    async fn second_runtime_on_the_same_state_lists_the_same(&self) {
        let runtime = (self.make)();
        let (runs, ended) = (self.plan(3, &[]).await, self.plan(4, &[("EXIT", "1")]).await);
        runtime.start(&runs).await.unwrap();
        runtime.start(&ended).await.unwrap();
        running(&runtime, &runs.name).await;
        exited(&runtime, &ended.name).await;
        let before = runtime.list(key_of(&runs)).await.unwrap();
        drop(runtime);
        let runtime = (self.make)();
        assert_eq!(runtime.list(key_of(&runs)).await.unwrap(), before);
        runtime.start(&runs).await.unwrap();
        assert_eq!(runtime.list(key_of(&runs)).await.unwrap(), before, "a running instance is unchanged");
        for plan in [runs, ended] {
            runtime.stop(&plan.name, GRACE).await.unwrap();
        }
    }

    async fn exit_is_listed_with_its_code_and_last_output(&self) {
        let runtime = (self.make)();
        let plan = self.plan(5, &[("EXIT", "1")]).await;
        runtime.start(&plan).await.unwrap();
        let status = exited(&runtime, &plan.name).await;
        let InstanceState::Exited(exit) = status.state else { panic!("{status:?}") };
        assert_eq!((exit.code, exit.out_of_memory), (Some(7), false));
        let lines = runtime.logs(&plan.name, LogQuery { tail: 20, follow: false }).await.unwrap();
        let lines: Vec<_> = lines.map(|line| line.unwrap().text).collect().await;
        assert!(lines.iter().any(|line| line.contains("started")), "{lines:?}");
        runtime.stop(&plan.name, GRACE).await.unwrap();
    }

    async fn start_after_an_exit_is_a_new_run(&self) {
        let runtime = (self.make)();
        let plan = self.plan(6, &[("EXIT", "1")]).await;
        runtime.start(&plan).await.unwrap();
        let first = exited(&runtime, &plan.name).await;
        runtime.start(&plan).await.unwrap();
        until("the instance has run again", async || {
            let again = status(&runtime, &plan.name).await?;
            (again != first && matches!(again.state, InstanceState::Exited(_))).then_some(())
        })
        .await;
        runtime.stop(&plan.name, GRACE).await.unwrap();
    }

    async fn instance_listed_while_it_starts_has_one_run(&self) {
        let runtime = (self.make)();
        for deployment in 40..50 {
            let plan = self.plan(deployment, &[]).await;
            let mut runs = BTreeSet::new();
            let mut look = async || {
                // The runtime may fail to list, but must not report a wrong state.
                for seen in runtime.list(key_of(&plan)).await.unwrap_or_default() {
                    if let InstanceState::Running { since, .. } = seen.state {
                        runs.insert((seen.id, since));
                    }
                }
            };
            let mut starting = std::pin::pin!(runtime.start(&plan));
            loop {
                tokio::select! {
                    started = &mut starting => break started.unwrap(),
                    () = look() => {}
                }
            }
            look().await;
            assert_eq!(runs.len(), 1, "{runs:?}");
            runtime.stop(&plan.name, GRACE).await.unwrap();
        }
    }

    async fn application_lists_only_its_own_instances(&self) {
        let runtime = (self.make)();
        let mine = self.plan(7, &[]).await;
        let mut others = self.plan(7, &[]).await;
        others.name.placement.key = format!("{}-other/production", self.key.app).parse().unwrap();
        others.host_port = None;
        runtime.start(&mine).await.unwrap();
        runtime.start(&others).await.unwrap();
        let listed = runtime.list(key_of(&mine)).await.unwrap();
        assert_eq!(listed.iter().map(|status| &status.name).collect::<Vec<_>>(), [&mine.name]);
        assert_eq!(runtime.list_all().await.unwrap().len(), 2);
        for plan in [mine, others] {
            runtime.stop(&plan.name, GRACE).await.unwrap();
        }
    }

    async fn end_is_notified_at_once(&self) {
        let runtime = (self.make)();
        let mut events = runtime.events().await.unwrap();
        let plan = self.plan(8, &[("EXIT", "1")]).await;
        runtime.start(&plan).await.unwrap();
        let notified = tokio::time::timeout(DEADLINE, async {
            while let Some(event) = events.next().await {
                if event.name == plan.name && event.what == "die" {
                    return true;
                }
            }
            false
        });
        assert!(notified.await.expect("an event of the end"));
        runtime.stop(&plan.name, GRACE).await.unwrap();
    }

    async fn output_is_followed(&self) {
        let runtime = (self.make)();
        let plan = self.plan(9, &[]).await;
        runtime.start(&plan).await.unwrap();
        running(&runtime, &plan.name).await;
        let mut lines = runtime.logs(&plan.name, LogQuery { tail: 10, follow: true }).await.unwrap();
        let first = tokio::time::timeout(DEADLINE, lines.next()).await.unwrap().unwrap().unwrap();
        assert!(first.text.contains("started"), "{first:?}");
        runtime.stop(&plan.name, GRACE).await.unwrap();
        let rest = tokio::time::timeout(DEADLINE, async { while lines.next().await.is_some() {} });
        rest.await.expect("the log ends with its instance");
    }

    async fn taken_port_is_reported_with_its_owner(&self) {
        let runtime = (self.make)();
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut plan = self.plan(10, &[]).await;
        plan.host_port = Some(port);
        let error = runtime.start(&plan).await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        runtime.stop(&plan.name, GRACE).await.unwrap();
    }

    async fn frozen_instance_resumes_as_the_same_run_or_stops(&self) {
        let runtime = (self.make)();
        let plan = self.plan(11, &[]).await;
        runtime.freeze(&plan.name).await.expect("freezing a missing instance succeeds");
        runtime.start(&plan).await.unwrap();
        running(&runtime, &plan.name).await;
        let before = status(&runtime, &plan.name).await.unwrap();
        runtime.thaw(&plan.name).await.expect("thawing a running instance succeeds");
        for _ in 0..2 {
            runtime.freeze(&plan.name).await.unwrap();
            let frozen = status(&runtime, &plan.name).await.unwrap();
            assert!(matches!(frozen.state, InstanceState::Frozen { .. }), "{frozen:?}");
        }
        runtime.set_restart(&plan.name, false).await.expect("a parked instance must not start after a reboot");
        drop(runtime);
        let runtime = (self.make)();
        runtime.start(&plan).await.expect("starting a frozen instance succeeds");
        for _ in 0..2 {
            runtime.thaw(&plan.name).await.unwrap();
            assert_eq!(status(&runtime, &plan.name).await.unwrap(), before, "the run is the same");
        }
        runtime.freeze(&plan.name).await.unwrap();
        let began = Instant::now();
        runtime.stop(&plan.name, GRACE).await.unwrap();
        assert!(began.elapsed() < GRACE.to_duration(), "the stop waited for a frozen instance in vain");
        assert_eq!(runtime.list(key_of(&plan)).await.unwrap(), []);
    }

    async fn services_reach_each_other_only_within_their_slot(&self) {
        let runtime = (self.make)();
        let (api, web): (ServiceName, ServiceName) = ("api".parse().unwrap(), "web".parse().unwrap());
        let peer = SiblingService { port: self.service.port, replicas: 1 };
        let peers = BTreeMap::from([(api.clone(), peer), (web.clone(), peer)]);
        let of = async |slot: Slot, deployment: u64, service: &ServiceName, variables: &[(&str, &str)]| {
            let plan = self.plan(deployment, variables).await;
            let placement = PlacementId { slot, ..plan.name.placement.clone() };
            InstancePlan { name: placement.instance(service, 1), peers: peers.clone(), ..plan }
        };
        let mut plans = Vec::new();
        for (slot, deployment) in [(Slot::Blue, 30), (Slot::Green, 31)] {
            // The asking instance starts first: it gets the address of the other instance before that exists.
            plans.push(of(slot, deployment, &web, &[("ASK", "API")]).await);
            plans.push(of(slot, deployment, &api, &[]).await);
        }
        for plan in &plans {
            runtime.start(plan).await.unwrap();
        }
        for pair in plans.chunks(2) {
            let (asks, answers) = (&pair[0].name, pair[1].name.to_string());
            let (address, _) = running(&runtime, asks).await;
            running(&runtime, &pair[1].name).await;
            let answer = until("the sibling answers", async || {
                response_of(address).await.filter(|response| response != "nobody")
            })
            .await;
            assert_eq!(answer, answers, "{asks} asked another slot");
        }
        for plan in &plans {
            runtime.start(plan).await.expect("a second start changes nothing");
        }
        for plan in &plans {
            runtime.stop(&plan.name, GRACE).await.unwrap();
        }
    }

    async fn plan(&self, deployment: u64, variables: &[(&str, &str)]) -> InstancePlan {
        let mut service = self.service.clone();
        service.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let artifact = (self.make)().prepare(&service.workload, Arc::new(|_| {})).await.unwrap();
        let placement = PlacementId { key: self.key.clone(), slot: Slot::Blue, deployment };
        let name = placement.instance(&ServiceName::default(), 1);
        InstancePlan { name, release: deployment, service, artifact, host_port: None, peers: BTreeMap::new() }
    }
}

/// Reads what an instance sends to a client.
async fn response_of(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.ok()?;
    Some(response)
}

const fn key_of(plan: &InstancePlan) -> &AppKey {
    &plan.name.placement.key
}

async fn status(runtime: &impl Runtime, name: &InstanceName) -> Option<InstanceStatus> {
    let statuses = runtime.list(&name.placement.key).await.unwrap();
    statuses.into_iter().find(|status| status.name == *name)
}

/// Waits until the instance runs and listens; returns its address and status.
pub async fn running(runtime: &impl Runtime, name: &InstanceName) -> (SocketAddr, InstanceStatus) {
    until("the instance runs and listens", async || {
        let status = status(runtime, name).await?;
        let InstanceState::Running { address, .. } = status.state else { return None };
        TcpStream::connect(address).await.ok().map(|_| (address, status))
    })
    .await
}

/// Waits until the instance has ended.
pub async fn exited(runtime: &impl Runtime, name: &InstanceName) -> InstanceStatus {
    until("the instance ends", async || {
        status(runtime, name).await.filter(|status| matches!(status.state, InstanceState::Exited(_)))
    })
    .await
}

/// Waits until `condition` has a value; panics at a deadline.
pub async fn until<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let give_up_at = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < give_up_at, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

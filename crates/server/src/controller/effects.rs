//! Carries out actions in the background, each at most once at a time. `results` keeps their outcomes.

mod results;

use super::event::Event;
use super::shared::{GateLine, Shared};
use crate::gates::{GateRun, Output, Target};
use gapless_core::application::KeptRelease;
use gapless_core::facts::GateEnd;
use gapless_core::gate::{Gate, GateResult};
use gapless_core::hook::Hook;
use gapless_core::machine::State;
use gapless_core::spec::{HostPorts, Workload};
use gapless_core::{Action, AppKey, Artifacts, InstanceName, Millis, Placement};
use gapless_runtime::{InstancePlan, ProgressSink, Runtime, RuntimeError, SiblingService};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// How long preparing a release waits for an unavailable runtime before the deployment fails.
const PREPARE_PATIENCE: Duration = Duration::from_secs(3);
const PREPARE_RETRY_AFTER: Duration = Duration::from_millis(250);
/// The maximum number of attempts to freeze an instance: some hosts cannot, and nothing depends on it.
const FREEZE_TRIES_MAX: u32 = 3;
/// The wait after a failed attempt to keep the artifacts that rollbacks need.
const KEEP_RETRY_AFTER: Duration = Duration::from_secs(5);
/// The wait after a failed call of a runtime before the next one.
const RUNTIME_PAUSE: Duration = Duration::from_millis(200);

/// Work in progress, recorded so that it does not start twice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Prepare(u64),
    Start(InstanceName),
    Stop(InstanceName),
    SetRestart(InstanceName),
    Freeze(InstanceName),
    Thaw(InstanceName),
    Keep,
    Gate { deployment: u64, name: String, attempt: u16 },
    Hook { deployment: u64, name: String },
}

pub(super) struct Effects {
    key: AppKey,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    in_progress: BTreeSet<Work>,
    prepared: Option<(u64, Result<Artifacts, String>)>,
    restarts_set: BTreeMap<InstanceName, bool>,
    /// The number of consecutive failures to freeze an instance. After [`FREEZE_TRIES_MAX`], the instance keeps
    /// running.
    unfreezable: BTreeMap<InstanceName, u32>,
    /// The releases of the last request to keep artifacts.
    kept: Vec<KeptRelease>,
    /// The outcomes of the gates of the deployment `gates_of`.
    gate_outcomes: BTreeMap<String, GateEnd>,
    gates_of: u64,
    /// The outcomes of the hooks of the current deployment.
    hook_outcomes: BTreeMap<(u64, String), GateResult>,
    /// The gates and hooks in progress, to be aborted when no action requests them any more.
    tests: BTreeMap<Work, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Effects {
    pub(super) fn new(key: AppKey, shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Self {
        Effects {
            key,
            shared,
            events,
            in_progress: BTreeSet::new(),
            prepared: None,
            restarts_set: BTreeMap::new(),
            unfreezable: BTreeMap::new(),
            kept: Vec::new(),
            gate_outcomes: BTreeMap::new(),
            gates_of: 0,
            hook_outcomes: BTreeMap::new(),
            tests: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Aborts the gates and hooks that none of `actions` requests.
    pub(super) fn abort_unwanted_tests(&mut self, actions: &[Action]) {
        let is_wanted = |work: &Work| match work {
            Work::Gate { name, attempt, .. } => {
                actions.contains(&Action::RunGate { name: name.clone(), attempt: *attempt })
            }
            Work::Hook { name, .. } => actions.contains(&Action::RunHook(name.clone())),
            _ => false,
        };
        let in_progress = &mut self.in_progress;
        self.tests.retain(|work, task| {
            let is_wanted = is_wanted(work);
            if !is_wanted {
                task.abort();
                in_progress.remove(work);
            }
            is_wanted
        });
    }

    /// Forgets the prepared artifacts of an earlier deployment.
    pub(super) fn forget_prepared(&mut self) {
        self.prepared = None;
    }

    /// Starts an action, unless the same one is in progress.
    pub(super) fn carry_out(&mut self, state: &State, action: Action) {
        match action {
            Action::Prepare => self.prepare(state),
            Action::Start(name) => {
                let placement = state.app.placement_of(&name);
                if let Some((placement, plan)) = placement.and_then(|it| Some((it, plan(&name, it)?))) {
                    self.start(plan, placement);
                }
            }
            Action::RunGate { name, attempt } => self.run_gate(state, &name, attempt),
            Action::RunHook(name) => self.run_hook(state, &name),
            Action::Stop { name, grace } => self.stop(name, grace, state),
            Action::SetRestart { name, comes_back } => self.set_restart(name, comes_back, state),
            Action::Freeze(name) => self.freeze(name, true, state),
            Action::Thaw(name) => self.freeze(name, false, state),
            Action::Keep(kept) => self.keep_artifacts(kept),
            Action::Probe { .. } | Action::Promote(_) | Action::Forget => {}
        }
    }

    fn spawn(&mut self, work: Work, effect: impl Future<Output = Event> + Send + 'static) -> Option<AbortHandle> {
        if !self.in_progress.insert(work) {
            return None;
        }
        let events = self.events.clone();
        Some(self.tasks.spawn(async move {
            // The receiver ends only with the controller.
            let _ = events.send(effect.await).await;
        }))
    }

    fn run_gate(&mut self, state: &State, name: &str, attempt: u16) {
        let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return };
        let Some(gate) = release.spec.gates.iter().find(|gate| gate.name == name).cloned() else { return };
        let number = deployment.number;
        if self.gates_of != number {
            (self.gates_of, self.gate_outcomes) = (number, BTreeMap::new());
        }
        // The outcome is about to be recorded.
        if self.gate_outcomes.get(name).is_some_and(|end| end.attempt == attempt) {
            return;
        }
        let Some(run) = self.gate_run(state, gate) else { return };
        let (running, clock) = ((self.shared.gate_runner)(run), self.shared.clock.clone());
        let (work, name) = (Work::Gate { deployment: number, name: name.to_owned(), attempt }, name.to_owned());
        let task = self.spawn(work.clone(), async move {
            let since = clock.now();
            let end = GateEnd { attempt, since, result: running.await };
            Event::GateEnded { deployment: number, name, end }
        });
        self.tests.extend(task.map(|task| (work, task)));
    }

    /// Starts a hook. The record already says that this run of the server started it.
    fn run_hook(&mut self, state: &State, name: &str) {
        let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return };
        let mut hooks = release.spec.hooks.iter().chain(&deployment.undo_hooks);
        let Some(gate) = hooks.find(|hook| hook.name == name).map(Hook::as_gate) else { return };
        let number = deployment.number;
        // The outcome is about to be recorded.
        if self.hook_outcomes.contains_key(&(number, name.to_owned())) {
            return;
        }
        let Some(run) = self.gate_run(state, gate) else { return };
        let (running, name) = ((self.shared.gate_runner)(run), name.to_owned());
        let work = Work::Hook { deployment: number, name: name.clone() };
        let task = self
            .spawn(work.clone(), async move { Event::HookEnded { deployment: number, name, result: running.await } });
        self.tests.extend(task.map(|task| (work, task)));
    }

    /// The run of a gate, or of a hook as a gate, for the active deployment.
    fn gate_run(&self, state: &State, gate: Gate) -> Option<GateRun> {
        let (deployment, release) = (state.deployment.as_ref()?, state.release.as_ref()?);
        let (number, slot) = (deployment.number, deployment.slot?);
        let placement = state.app.slots.get(&slot);
        let hosts = release.spec.routes.iter().map(|route| &route.host);
        let main = release.spec.main_service().map(|(name, _)| name);
        let listening = placement.iter().flat_map(|placement| &placement.replicas).filter_map(|replica| {
            let address = replica.address.filter(|address| address.port() != 0)?;
            Some((replica.service.clone(), address))
        });
        let mut instances: Vec<_> = listening.collect();
        // Instances of the main service, which receive the requests of users, come first.
        instances.sort_by_key(|(service, _)| Some(service) != main);
        let target = Target {
            key: self.key.clone(),
            deployment: number,
            release: release.number,
            slot,
            host: hosts.filter(|host| host.is_name()).map(ToString::to_string).next(),
            token: deployment.preview_token.clone(),
            instances,
        };
        let (outputs, line_of) = (self.shared.outputs.clone(), (self.key.clone(), number, gate.name.clone()));
        let output = Output::new(move |line| {
            let (key, deployment, gate) = line_of.clone();
            // Without a client that follows, there is no receiver.
            let _ = outputs.send(GateLine { key, deployment, gate, line: line.to_owned() });
        });
        Some(GateRun { gate, target, output })
    }

    fn prepare(&mut self, state: &State) {
        let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return };
        let number = deployment.number;
        let spec = release.spec.clone();
        let runtime = self.shared.runtimes.of(&spec).clone();
        let (shared, key) = (self.shared.clone(), self.key.clone());
        let sink: ProgressSink = Arc::new(move |progress| {
            shared.progress.set(&key, Some(progress));
            let _ = shared.changes.send(key.clone());
        });
        self.spawn(Work::Prepare(number), async move {
            let mut artifacts = Artifacts::default();
            for (name, service) in &spec.services {
                match prepare(runtime.as_ref(), &service.workload, &sink).await {
                    Ok(artifact) => drop(artifacts.0.insert(name.clone(), artifact)),
                    Err(error) => return Event::Prepared { deployment: number, result: Err(error.to_string()) },
                }
            }
            Event::Prepared { deployment: number, result: Ok(artifacts) }
        });
    }

    fn start(&mut self, plan: InstancePlan, placement: &Placement) {
        if self.is_stopping(&plan.name) {
            return;
        }
        let runtime = self.shared.runtimes.of(&placement.spec).clone();
        let name = plan.name.clone();
        self.spawn(Work::Start(name.clone()), async move {
            let result = runtime.start(&plan).await;
            Event::Started { name, result }
        });
    }

    fn stop(&mut self, name: InstanceName, grace: Millis, state: &State) {
        if self.is_starting(&name) {
            // The core asks again after the start has ended: of two concurrent calls, the last one would be unknown.
            return;
        }
        // An instance that no record names may be of any runtime; stopping it in another runtime does nothing.
        let runtimes: Vec<_> = match state.app.placement_of(&name) {
            Some(placement) => vec![self.shared.runtimes.of(&placement.spec).clone()],
            None => self.shared.runtimes.all().map(|(_, runtime)| runtime.clone()).collect(),
        };
        let is_known = runtimes.len() == 1;
        self.spawn(Work::Stop(name.clone()), async move {
            let mut result = Ok(());
            for runtime in runtimes {
                match runtime.stop(&name, grace).await {
                    Err(error) if is_known || !error.is_transient() => result = Err(error),
                    _ => {}
                }
            }
            if result.is_err() {
                tokio::time::sleep(RUNTIME_PAUSE).await;
            }
            Event::Stopped { name, result }
        });
    }

    fn freeze(&mut self, name: InstanceName, is_frozen: bool, state: &State) {
        let Some(placement) = state.app.placement_of(&name) else { return };
        if is_frozen && self.unfreezable.get(&name).is_some_and(|failures| *failures >= FREEZE_TRIES_MAX) {
            return;
        }
        let runtime = self.shared.runtimes.of(&placement.spec).clone();
        let (work, contrary) = match is_frozen {
            true => (Work::Freeze(name.clone()), Work::Thaw(name.clone())),
            false => (Work::Thaw(name.clone()), Work::Freeze(name.clone())),
        };
        if self.in_progress.contains(&contrary) {
            // The core asks again after that call has ended: of two concurrent calls, the last one would be unknown.
            return;
        }
        self.spawn(work, async move {
            let result = match is_frozen {
                true => runtime.freeze(&name).await,
                false => runtime.thaw(&name).await,
            };
            if result.is_err() {
                tokio::time::sleep(RUNTIME_PAUSE).await;
            }
            Event::Frozen { name, is_frozen, result }
        });
    }

    /// Keeps the artifacts that rollbacks need, and lets go of all others.
    fn keep_artifacts(&mut self, kept: Vec<KeptRelease>) {
        if self.kept == kept || self.in_progress.contains(&Work::Keep) {
            return;
        }
        let runtimes: Vec<_> = self.shared.runtimes.all().map(|(name, runtime)| (name, runtime.clone())).collect();
        let (key, before) = (self.key.clone(), std::mem::replace(&mut self.kept, kept.clone()));
        self.spawn(Work::Keep, async move {
            let mut result = Ok(());
            for (name, runtime) in runtimes {
                let is_of_runtime = |kept: &&KeptRelease| kept.runtime == name;
                let artifacts: BTreeMap<_, _> =
                    kept.iter().filter(is_of_runtime).map(|kept| (kept.release, kept.artifacts.clone())).collect();
                if !artifacts.is_empty() || before.iter().any(|kept| is_of_runtime(&kept)) {
                    result = result.and(runtime.keep(&key, &artifacts).await);
                }
            }
            if result.is_err() {
                tokio::time::sleep(KEEP_RETRY_AFTER).await;
            }
            Event::Kept { result }
        });
    }

    fn set_restart(&mut self, name: InstanceName, comes_back: bool, state: &State) {
        let Some(placement) = state.app.placement_of(&name) else { return };
        if self.restarts_set.get(&name) == Some(&comes_back) {
            return;
        }
        let runtime = self.shared.runtimes.of(&placement.spec).clone();
        self.spawn(Work::SetRestart(name.clone()), async move {
            let result = runtime.set_restart(&name, comes_back).await;
            if result.is_err() {
                tokio::time::sleep(RUNTIME_PAUSE).await;
            }
            Event::RestartSet { name, comes_back, result }
        });
    }
}

/// Prepares the workload of a service. Waits up to [`PREPARE_PATIENCE`] for an unavailable runtime.
async fn prepare(runtime: &dyn Runtime, workload: &Workload, sink: &ProgressSink) -> Result<String, RuntimeError> {
    let give_up_at = tokio::time::Instant::now() + PREPARE_PATIENCE;
    loop {
        match runtime.prepare(workload, sink.clone()).await {
            Err(error) if error.is_transient() && tokio::time::Instant::now() < give_up_at => {
                tokio::time::sleep(PREPARE_RETRY_AFTER).await;
            }
            result => return result,
        }
    }
}

/// The plan of an instance; `None` if the release has no such service, which cannot happen.
fn plan(name: &InstanceName, placement: &Placement) -> Option<InstancePlan> {
    let service = placement.service(&name.service)?.clone();
    let peers = placement.spec.services.iter().filter(|_| placement.spec.has_several_services());
    let peers =
        peers.map(|(name, service)| (name.clone(), SiblingService { port: service.port, replicas: service.replicas }));
    Some(InstancePlan {
        name: name.clone(),
        release: placement.release,
        host_port: service.host_ports.map(|ports: HostPorts| ports.of(placement.id.slot)),
        artifact: placement.artifacts.of(&name.service)?.to_owned(),
        peers: peers.collect(),
        service,
    })
}

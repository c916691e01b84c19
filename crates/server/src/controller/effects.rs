//! Carries out actions in the background, each at most once at a time, and reports what came of them.

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

/// How long a runtime that is away is waited for when a release is prepared, before the deployment fails for it.
const PREPARE_PATIENCE: Duration = Duration::from_secs(3);
const PREPARE_RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often freezing an instance is tried: some hosts cannot, and nothing depends on it.
const FREEZE_TRIES_MAX: u32 = 3;
/// How long after a failed try what rollbacks need is kept again.
const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long after a failed call the next one waits.
const RUNTIME_PAUSE: Duration = Duration::from_millis(200);

/// What is under way, so that it is not begun twice.
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
    under_way: BTreeSet<Work>,
    prepared: Option<(u64, Result<Artifacts, String>)>,
    restarts_set: BTreeMap<InstanceName, bool>,
    /// How often in a row instances could not be frozen: in the end they run on.
    unfreezable: BTreeMap<InstanceName, u32>,
    /// What was last asked to be kept.
    kept: Vec<KeptRelease>,
    /// What came of the gates of a deployment.
    gate_ends: BTreeMap<String, GateEnd>,
    gates_of: u64,
    /// What came of the hooks of a deployment.
    hook_ends: BTreeMap<(u64, String), GateResult>,
    /// The gates and hooks that are under way, to be ended when nobody asks for them any more.
    tests: BTreeMap<Work, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Effects {
    pub(super) fn new(key: AppKey, shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Self {
        Effects {
            key,
            shared,
            events,
            under_way: BTreeSet::new(),
            prepared: None,
            restarts_set: BTreeMap::new(),
            unfreezable: BTreeMap::new(),
            kept: Vec::new(),
            gate_ends: BTreeMap::new(),
            gates_of: 0,
            hook_ends: BTreeMap::new(),
            tests: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// What came of preparing that deployment's release, once something did.
    pub(super) fn prepared(&self, deployment: u64) -> Option<Result<Artifacts, String>> {
        self.prepared.as_ref().filter(|(number, _)| *number == deployment).map(|(_, result)| result.clone())
    }

    /// Whether an instance is being started.
    pub(super) fn is_starting(&self, name: &InstanceName) -> bool {
        self.under_way.contains(&Work::Start(name.clone()))
    }

    /// Whether an instance is being stopped.
    pub(super) fn is_stopping(&self, name: &InstanceName) -> bool {
        self.under_way.contains(&Work::Stop(name.clone()))
    }

    /// Whether that instance is being frozen.
    pub(super) fn is_freezing(&self, name: &InstanceName) -> bool {
        self.under_way.contains(&Work::Freeze(name.clone()))
    }

    /// What came of the gates of that deployment, as far as this process has carried them out.
    pub(super) fn gate_ends(&self, deployment: u64) -> BTreeMap<String, GateEnd> {
        if self.gates_of == deployment { self.gate_ends.clone() } else { BTreeMap::new() }
    }

    /// What came of the hooks of that deployment that this process has begun.
    pub(super) fn hook_ends(&self, deployment: u64) -> BTreeMap<String, GateResult> {
        let ends = self.hook_ends.iter().filter(|((number, _), _)| *number == deployment);
        ends.map(|((_, name), result)| (name.clone(), result.clone())).collect()
    }

    /// Ends the gates and hooks that none of `actions` asks for.
    pub(super) fn keep_tests(&mut self, actions: &[Action]) {
        let is_wanted = |work: &Work| match work {
            Work::Gate { name, attempt, .. } => {
                actions.contains(&Action::RunGate { name: name.clone(), attempt: *attempt })
            }
            Work::Hook { name, .. } => actions.contains(&Action::RunHook(name.clone())),
            _ => false,
        };
        let under_way = &mut self.under_way;
        self.tests.retain(|work, task| {
            let is_wanted = is_wanted(work);
            if !is_wanted {
                task.abort();
                under_way.remove(work);
            }
            is_wanted
        });
    }

    /// A deployment begins: what an earlier one prepared is nothing to it.
    pub(super) fn begin_deployment(&mut self) {
        self.prepared = None;
    }

    /// Begins an action, unless the same is under way.
    pub(super) fn begin(&mut self, state: &State, action: Action) {
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
            Action::Keep(kept) => self.keep(kept),
            Action::Probe { .. } | Action::Promote(_) | Action::Forget => {}
        }
    }

    /// Takes note of what came of an action.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Prepared { deployment, result } => {
                self.under_way.remove(&Work::Prepare(*deployment));
                self.prepared = Some((*deployment, result.clone()));
                self.shared.progress.set(&self.key, None);
            }
            Event::GateEnded { deployment, name, end } => {
                let work = Work::Gate { deployment: *deployment, name: name.clone(), attempt: end.attempt };
                self.under_way.remove(&work);
                self.tests.remove(&work);
                if self.gates_of == *deployment {
                    self.gate_ends.insert(name.clone(), end.clone());
                }
            }
            Event::HookEnded { deployment, name, result } => {
                let work = Work::Hook { deployment: *deployment, name: name.clone() };
                self.under_way.remove(&work);
                self.tests.remove(&work);
                // Only the present deployment's are of use.
                self.hook_ends.retain(|(number, _), _| number == deployment);
                self.hook_ends.insert((*deployment, name.clone()), result.clone());
            }
            Event::Started { name, .. } => {
                self.under_way.remove(&Work::Start(name.clone()));
                self.restarts_set.remove(name);
            }
            Event::Stopped { name, result } => {
                self.under_way.remove(&Work::Stop(name.clone()));
                self.restarts_set.remove(name);
                if let Err(error) = result {
                    tracing::warn!(instance = %name, %error, "could not be stopped; trying again");
                }
            }
            Event::Frozen { name, is_frozen, result } => {
                let work = if *is_frozen { Work::Freeze(name.clone()) } else { Work::Thaw(name.clone()) };
                self.under_way.remove(&work);
                match result {
                    Err(error) if *is_frozen => {
                        let failures = self.unfreezable.entry(name.clone()).or_default();
                        *failures += 1;
                        let next = if *failures < FREEZE_TRIES_MAX { "trying again" } else { "it runs on" };
                        tracing::warn!(instance = %name, %error, "could not be frozen; {next}");
                    }
                    Err(error) => tracing::warn!(instance = %name, %error, "could not be thawed; trying again"),
                    Ok(()) => {
                        self.unfreezable.remove(name);
                        let what = if *is_frozen { "parked" } else { "goes on" };
                        tracing::info!(instance = %name, "{what}");
                    }
                }
            }
            Event::Kept { result } => {
                self.under_way.remove(&Work::Keep);
                if let Err(error) = result {
                    tracing::warn!(application = %self.key, %error, "what rollbacks need could not be kept; trying again");
                    self.kept.clear();
                }
            }
            Event::RestartSet { name, comes_back, result } => {
                self.under_way.remove(&Work::SetRestart(name.clone()));
                match result {
                    Ok(()) => drop(self.restarts_set.insert(name.clone(), *comes_back)),
                    Err(error) => tracing::warn!(instance = %name, %error, "its restart policy could not be set"),
                }
            }
            Event::Health { .. } => {}
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn spawn(&mut self, work: Work, effect: impl Future<Output = Event> + Send + 'static) -> Option<AbortHandle> {
        if !self.under_way.insert(work) {
            return None;
        }
        let events = self.events.clone();
        Some(self.tasks.spawn(async move {
            // The receiver is gone only when the controller is.
            let _ = events.send(effect.await).await;
        }))
    }

    fn run_gate(&mut self, state: &State, name: &str, attempt: u16) {
        let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return };
        let Some(gate) = release.spec.gates.iter().find(|gate| gate.name == name).cloned() else { return };
        let number = deployment.number;
        if self.gates_of != number {
            (self.gates_of, self.gate_ends) = (number, BTreeMap::new());
        }
        // Its end is on the way into the record.
        if self.gate_ends.get(name).is_some_and(|end| end.attempt == attempt) {
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

    /// Begins a hook; that it is begun, and by this run of the server, is recorded.
    fn run_hook(&mut self, state: &State, name: &str) {
        let (Some(deployment), Some(release)) = (&state.deployment, &state.release) else { return };
        let mut hooks = release.spec.hooks.iter().chain(&deployment.undo_hooks);
        let Some(gate) = hooks.find(|hook| hook.name == name).map(Hook::as_gate) else { return };
        let number = deployment.number;
        // Its end is on the way into the record.
        if self.hook_ends.contains_key(&(number, name.to_owned())) {
            return;
        }
        let Some(run) = self.gate_run(state, gate) else { return };
        let (running, name) = ((self.shared.gate_runner)(run), name.to_owned());
        let work = Work::Hook { deployment: number, name: name.clone() };
        let task = self
            .spawn(work.clone(), async move { Event::HookEnded { deployment: number, name, result: running.await } });
        self.tests.extend(task.map(|task| (work, task)));
    }

    /// How a gate, or a hook as one, is carried out for the active deployment.
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
        // Those that users' requests come to first.
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
            // Nobody may be following.
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
            // Asked for again when that has come to its end: of two at once nobody knows which is the last.
            return;
        }
        // An instance that nothing in the record names may be of any runtime; those that do not have it do nothing.
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
        if self.under_way.contains(&contrary) {
            // Asked for again when that has come to its end: of two at once nobody knows which is the last.
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

    /// Keeps what rollbacks need.
    fn keep(&mut self, kept: Vec<KeptRelease>) {
        if self.kept == kept || self.under_way.contains(&Work::Keep) {
            return;
        }
        let runtimes: Vec<_> = self.shared.runtimes.all().map(|(name, runtime)| (name, runtime.clone())).collect();
        let (key, before) = (self.key.clone(), std::mem::replace(&mut self.kept, kept.clone()));
        self.spawn(Work::Keep, async move {
            let mut result = Ok(());
            for (name, runtime) in runtimes {
                let is_its = |kept: &&KeptRelease| kept.runtime == name;
                let artifacts: BTreeMap<_, _> =
                    kept.iter().filter(is_its).map(|kept| (kept.release, kept.artifacts.clone())).collect();
                if !artifacts.is_empty() || before.iter().any(|kept| is_its(&kept)) {
                    result = result.and(runtime.keep(&key, &artifacts).await);
                }
            }
            if result.is_err() {
                tokio::time::sleep(KEEP_AGAIN_AFTER).await;
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

/// Prepares the workload of a service. A runtime that is away is waited for a little.
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

/// The plan of an instance; nothing where its service is none of the release, which cannot be.
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

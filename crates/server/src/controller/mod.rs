//! One controller for each application and environment: reads the record, observes the world, asks the core for a
//! decision, commits or acts, and waits for an event. A controller has no state that a restart would lose.

mod all;
mod effects;
mod event;
mod observe;
mod probes;
mod shared;
mod waker;
mod watch;

pub use all::Controllers;
pub use shared::{GateLine, Progress, PromotionSender, Shared};
pub use waker::{Waker, Wakers};

use crate::records::{Loaded, RecordError};
use effects::Effects;
use event::Event;
use gapless_core::facts::{InstanceFact, InstanceSeen, PlaneFact};
use gapless_core::machine::{State, Step, step};
use gapless_core::{Action, AppKey, Facts, Phase, Timestamp, planted};
use observe::Observer;
use probes::Probes;
use shared::RECHECK_AFTER;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use watch::Watch;

/// The wait before the store is read again after a failure.
const STORE_RETRY_AFTER: Duration = Duration::from_millis(200);
/// The maximum number of events that wait for a controller.
const EVENTS_WAITING_MAX: usize = 1024;

struct Controller {
    key: AppKey,
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    observer: Observer,
    effects: Effects,
    probes: Probes,
    watch: Watch,
    events: mpsc::Receiver<Event>,
    /// The records that the previous turn read.
    previous: Option<Loaded>,
    cutover: Option<CutoverSeen>,
}

/// The time at which the cutover of a deployment was committed, by the monotonic clock.
struct CutoverSeen {
    deployment: u64,
    committed_at: Instant,
}

/// The result of a turn.
enum Turn {
    Again,
    WaitUntil(Option<Timestamp>),
    Gone,
}

/// Controls one application until it is removed.
pub(crate) async fn control(key: AppKey, shared: Arc<Shared>, waker: Arc<Waker>) {
    let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut controller = Controller {
        observer: Observer::new(key.clone()),
        effects: Effects::new(key.clone(), shared.clone(), sender.clone()),
        probes: Probes::new(shared.clone(), sender),
        watch: Watch::default(),
        key,
        shared,
        waker,
        events,
        previous: None,
        cutover: None,
    };
    let mut unusable = None;
    loop {
        let turn = controller.turn().await;
        if turn.is_ok() && unusable.take().is_some() {
            tracing::info!(application = %controller.key, "application is controlled again: the state can be used");
        }
        match turn {
            Ok(Turn::Again) | Err(RecordError::Conflict) => {}
            Ok(Turn::WaitUntil(at)) => controller.wait(at).await,
            Ok(Turn::Gone) => return,
            Err(error) => {
                let why = error.to_string();
                // Each reason is logged once, however long it lasts.
                if unusable.as_ref() != Some(&why) {
                    tracing::error!(application = %controller.key, "application is not controlled: {why}; retrying");
                    unusable = Some(why);
                }
                tokio::time::sleep(STORE_RETRY_AFTER).await;
            }
        }
    }
}

impl Controller {
    /// One turn: read, observe, decide, and commit or act.
    async fn turn(&mut self) -> Result<Turn, RecordError> {
        while let Ok(event) = self.events.try_recv() {
            self.handle(event);
        }
        if self.waker.start_turn() {
            self.observer.relist();
        }
        let previous = self.previous.take();
        let Some(loaded) = self.shared.records.load(&self.key, previous).await? else { return Ok(Turn::Gone) };
        let turn = self.decide(&loaded).await;
        self.previous = Some(loaded);
        turn
    }

    async fn decide(&mut self, loaded: &Loaded) -> Result<Turn, RecordError> {
        // A commit whose answer was lost has changed the routes too.
        self.shared.tables.set(&loaded.state.app, loaded.revision());
        let facts = self.observe(loaded).await;
        match step(&loaded.state, &facts) {
            Step::Commit(next) => {
                self.commit(loaded, &next).await?;
                Ok(Turn::Again)
            }
            Step::Rest { actions, wake_at } => {
                if actions == [Action::Forget] {
                    self.release_artifacts(loaded).await;
                    let revision = self.shared.records.forget(loaded).await?;
                    self.shared.tables.remove(&self.key, revision);
                    let _ = self.shared.changes.send(self.key.clone());
                    return Ok(Turn::Gone);
                }
                // While the instances were listed, this server may have been paused, and another one may lead now: an
                // instance that the decision stops may be live. A commit is fenced; effects on instances have only this
                // check.
                if !planted::acts_when_deposed() {
                    self.shared.records.allowed()?;
                }
                self.probes.keep_only(&actions);
                self.effects.abort_unwanted_tests(&actions);
                for action in actions {
                    self.act(loaded, action);
                }
                Ok(Turn::WaitUntil(wake_at.into_iter().chain(self.observer.retry_at()).min()))
            }
        }
    }

    async fn observe(&mut self, loaded: &Loaded) -> Facts {
        let facts = self.collect_facts(loaded).await;
        let is_given_up = |plane: &PlaneFact| plane.view.as_ref().is_some_and(|view| !view.given_up.is_empty());
        if facts.planes.iter().any(is_given_up) || facts.judged.as_ref().is_some_and(|judged| judged.breach.is_some()) {
            // Requests notice the end of an instance before its runtime reports it, and why it ended.
            self.observer.relist();
            return self.collect_facts(loaded).await;
        }
        facts
    }

    async fn collect_facts(&mut self, loaded: &Loaded) -> Facts {
        let mut facts = self.observer.facts(loaded, &self.shared, &self.probes, &self.effects).await;
        facts.cutover_us = self.cutover_us(loaded);
        let is_interrupted = |fact: &InstanceFact| matches!(fact.state, InstanceSeen::Interrupted);
        match &facts.instances {
            Some(instances) if !instances.values().any(is_interrupted) => {
                facts.judged = self.watch.compare(loaded, self.shared.planes.figures(&self.key).as_ref());
            }
            // Failures while the runtime was unavailable are not failures of the release.
            _ => self.watch.forget(),
        }
        facts
    }

    /// The microseconds from the commit of the cutover to the last acknowledgement, if this process has seen both.
    fn cutover_us(&self, loaded: &Loaded) -> Option<u64> {
        let seen = self.cutover.as_ref()?;
        let (deployment, phase) = loaded.active_phase()?;
        let is_this = deployment == seen.deployment && *phase == Phase::Shifting;
        let acknowledged_at = self.shared.planes.acknowledged_at().filter(|_| is_this)?;
        let took = acknowledged_at.saturating_duration_since(seen.committed_at);
        u64::try_from(took.as_micros()).ok()
    }

    async fn commit(&mut self, loaded: &Loaded, next: &State) -> Result<(), RecordError> {
        if planted::routes_before_commit() {
            self.shared.tables.set(&next.app, loaded.revision());
        }
        let revision = self.shared.records.commit(loaded, next).await?;
        let committed_at = Instant::now();
        self.shared.tables.set(&next.app, revision);
        let _ = self.shared.changes.send(self.key.clone());
        let Some(deployment) = &next.deployment else { return Ok(()) };
        let previous_phase = loaded.state.deployment.as_ref().map(|deployment| &deployment.phase);
        if previous_phase == Some(&deployment.phase) {
            return Ok(());
        }
        let (number, phase) = (deployment.number, deployment.phase.name());
        let release = deployment.release;
        tracing::info!(application = %self.key, deployment = number, release, phase, "deployment entered a phase");
        match deployment.phase {
            Phase::Shifting => self.cutover = Some(CutoverSeen { deployment: number, committed_at }),
            Phase::Preparing => self.effects.forget_prepared(),
            _ if deployment.phase.is_end() => self.shared.progress.set(&self.key, None),
            _ => {}
        }
        Ok(())
    }

    fn act(&mut self, loaded: &Loaded, action: Action) {
        match action {
            Action::Probe { name, pace } => {
                let Some(placement) = loaded.state.app.placement_of(&name) else { return };
                if let Some((address, run)) = self.observer.running(&name) {
                    self.probes.ensure(name, run, address, pace, placement);
                }
            }
            Action::Prepare
            | Action::RunGate { .. }
            | Action::RunHook(_)
            | Action::Start(_)
            | Action::Stop { .. }
            | Action::SetRestart { .. }
            | Action::Freeze(_)
            | Action::Thaw(_)
            | Action::Keep(_) => {
                self.effects.carry_out(&loaded.state, action);
            }
            // The receiver ends only with the server.
            Action::Promote(promotion) => drop(self.shared.promotions.send((self.key.clone(), promotion))),
            // The core requests it alone, so `decide` has carried it out.
            Action::Forget => {}
        }
    }

    /// Lets go of all artifacts of a removed application. After a failure, only disk space is lost.
    async fn release_artifacts(&self, loaded: &Loaded) {
        let used: BTreeSet<_> = loaded.state.app.kept.iter().map(|kept| kept.runtime.as_str()).collect();
        for (name, runtime) in self.shared.runtimes.all().filter(|(name, _)| used.contains(name)) {
            if let Err(error) = runtime.keep(&self.key, &BTreeMap::new()).await {
                tracing::warn!(
                    application = %self.key, runtime = name,
                    "artifacts of the removed application stay on disk: {error}"
                );
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.effects.record(&event);
        if event.concerns_instances() {
            self.observer.relist();
        }
        self.observer.record(&event, self.shared.clock.now());
    }

    async fn wait(&mut self, until: Option<Timestamp>) {
        let now = self.shared.clock.now();
        let wait = until.map_or(RECHECK_AFTER, |at| at.since(now).min(RECHECK_AFTER)).to_duration();
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.handle(event),
            () = self.waker.woken() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

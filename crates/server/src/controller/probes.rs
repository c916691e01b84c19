//! The health checks in progress: a task for each instance that needs checks.

use super::event::Event;
use super::shared::Shared;
use crate::health::{ProbeFailure, ProbeFailureKind, next_eager};
use gapless_core::facts::Health;
use gapless_core::spec::HealthCheck;
use gapless_core::{Action, InstanceName, Millis, Pace, Placement, Spec};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The interval of a steady instance, as a multiple of the configured interval.
const STEADY_FACTOR: u64 = 15;

/// From this wait between two checks, the message of a refused connection lists the ports of the instance.
const LIST_PORTS_FROM: Millis = Millis(100);

pub(super) struct Probes {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    running: BTreeMap<InstanceName, Probe>,
}

struct Probe {
    run: String,
    pace: Pace,
    health: Arc<Mutex<Health>>,
    _task: AbortOnDropHandle<()>,
}

impl Probes {
    pub(super) fn new(shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Self {
        Probes { shared, events, running: BTreeMap::new() }
    }

    /// Ends the checks of instances for which none of `actions` requests checks.
    pub(super) fn keep_only(&mut self, actions: &[Action]) {
        let is_wanted = |name: &InstanceName| {
            actions.iter().any(|action| matches!(action, Action::Probe { name: wanted, .. } if wanted == name))
        };
        self.running.retain(|name, _| is_wanted(name));
    }

    /// Starts or continues checks of this run of the instance at that pace. The observations of a run stay when the
    /// pace changes; another run starts without any.
    pub(super) fn ensure(
        &mut self,
        name: InstanceName,
        run: String,
        address: SocketAddr,
        pace: Pace,
        placement: &Placement,
    ) {
        let Some(service) = placement.service(&name.service) else { return };
        let known = self.running.get(&name).filter(|probe| probe.run == run);
        if known.is_some_and(|probe| probe.pace == pace) {
            return;
        }
        let health = known.map(|probe| probe.health.clone()).unwrap_or_default();
        let check_loop = CheckLoop {
            shared: self.shared.clone(),
            events: self.events.clone(),
            name: name.clone(),
            address,
            pace,
            check: Arc::new(service.health.clone()),
            spec: placement.spec.clone(),
            health: health.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(check_loop.run()));
        self.running.insert(name, Probe { run, pace, health, _task: task });
    }

    /// The health of that run of the instance.
    pub(super) fn health(&self, name: &InstanceName, run: &str) -> Health {
        let probe = self.running.get(name).filter(|probe| probe.run == run);
        probe.map(|probe| probe.health.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

/// The repeated check of one instance.
struct CheckLoop {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    name: InstanceName,
    address: SocketAddr,
    pace: Pace,
    check: Arc<HealthCheck>,
    spec: Arc<Spec>,
    health: Arc<Mutex<Health>>,
}

impl CheckLoop {
    async fn run(self) {
        let check = self.check.clone();
        let mut wait = Millis(0);
        loop {
            let seen = (self.shared.prober)(self.address, check.clone()).await;
            let has_passed = seen.is_ok();
            let seen = match seen {
                // Listing ports costs more than a check, so not while an instance may be about to listen.
                Err(failure) if failure.kind == ProbeFailureKind::Refused && wait >= LIST_PORTS_FROM => {
                    Err(ProbeFailure { message: self.with_listening_ports(failure.message).await, ..failure })
                }
                seen => seen,
            };
            if self.record(seen) && self.events.send(Event::Health { has_passed }).await.is_err() {
                return;
            }
            wait = match self.pace {
                Pace::Eager => next_eager(wait, &check),
                Pace::Close => check.interval,
                Pace::Steady => Millis(check.interval.0.saturating_mul(STEADY_FACTOR)),
            };
            tokio::time::sleep(wait.to_duration().max(Duration::from_millis(1))).await;
        }
    }

    /// Records the result of a check. True if the result may change a decision.
    fn record(&self, seen: Result<(), ProbeFailure>) -> bool {
        let now = self.shared.clock.now();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Ok(()) => {
                let is_event = health.passes < self.check.passes || self.pace == Pace::Eager;
                let passes = health.passes.saturating_add(1);
                *health = Health { passes, passed_at: now, failures: 0, last_failure: None };
                is_event
            }
            // Shown if the deadline passes, but no failure of the instance.
            Err(failure) if failure.kind == ProbeFailureKind::NotSent => {
                health.last_failure = Some(failure.message);
                false
            }
            Err(failure) => {
                let failures = health.failures.saturating_add(1);
                let is_event = failures == self.check.failures || health.passes > 0;
                *health = Health { passes: 0, failures, last_failure: Some(failure.message), ..*health };
                is_event
            }
        }
    }

    /// Adds the ports that the application listens on: a wrong port is the most common mistake.
    async fn with_listening_ports(&self, message: String) -> String {
        let runtime = self.shared.runtimes.of(&self.spec);
        let ports = runtime.listening_ports(&self.name).await;
        match ports.as_slice() {
            [] => format!("{message}; the application listens on no port yet"),
            ports => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                format!("{message}, but the application listens on {}: set port to one of them", ports.join(", "))
            }
        }
    }
}

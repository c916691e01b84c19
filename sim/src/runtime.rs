//! A fake runtime: instances start slowly and exit, and calls fail before or after they take effect.

use crate::pause::Pause;
use crate::rng::Rng;
use crate::world::{Behaviour, World};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use gapless_core::spec::Workload;
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use gapless_runtime::{
    Exit, InstancePlan, InstanceState, InstanceStatus, LogLine, LogQuery, Progress, ProgressSink, Runtime,
    RuntimeError, RuntimeEvent,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

pub(crate) struct FakeRuntime {
    pub(crate) world: World,
    pub(crate) rng: Rng,
    pub(crate) events: broadcast::Sender<RuntimeEvent>,
    /// The drain timeout of all releases, for checking stops.
    pub(crate) drain: Duration,
    pub(crate) pause: Pause,
}

impl FakeRuntime {
    /// Waits for a random time; the call may then fail without effect.
    async fn maybe_fail(&self, doing: &str) -> Result<(), RuntimeError> {
        self.pause.wait().await;
        self.rng.wait_up_to(50).await;
        if self.world.has_faults() && self.rng.once_in(15) {
            return Err(away(doing));
        }
        Ok(())
    }

    /// Loses the answer of a call that has taken effect, at random.
    fn lose_answer(&self, doing: &str) -> Result<(), RuntimeError> {
        if self.world.has_faults() && self.rng.once_in(15) { Err(away(doing)) } else { Ok(()) }
    }

    /// Lists the instances that `is_wanted` selects.
    async fn listed(
        &self,
        is_wanted: impl Fn(&InstanceName) -> bool + Send,
    ) -> Result<Vec<InstanceStatus>, RuntimeError> {
        self.maybe_fail("listing").await?;
        let state = self.world.lock();
        let status = |(name, instance): (&InstanceName, &crate::world::Instance)| InstanceStatus {
            name: name.clone(),
            id: format!("{name}-{}", instance.run),
            state: match instance.is_running {
                true if instance.is_frozen => InstanceState::Frozen { since: instance.since },
                true => InstanceState::Running { address: instance.address, since: instance.since },
                false => InstanceState::Exited(Exit {
                    code: Some(1),
                    out_of_memory: instance.out_of_memory,
                    at: instance.since,
                }),
            },
            restarts: 0,
        };
        Ok(state.instances.iter().filter(|(name, _)| is_wanted(name)).map(status).collect())
    }

    fn emit(&self, name: &InstanceName, what: &str) {
        // Events may be lost.
        if !self.rng.once_in(5) {
            let _ = self.events.send(RuntimeEvent { name: name.clone(), what: what.to_owned() });
        }
    }
}

fn away(doing: &str) -> RuntimeError {
    RuntimeError::Timeout { runtime: "fake", doing: doing.to_owned(), seconds: 1 }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn prepare(&self, _: &Workload, progress: ProgressSink) -> Result<String, RuntimeError> {
        progress(Progress { step: "pulling".to_owned(), done_bytes: 1, total_bytes: 2 });
        self.rng.wait_up_to(2_000).await;
        self.maybe_fail("pulling").await?;
        if self.world.is_disk_full() {
            return Err(RuntimeError::DiskFull { doing: "pulling".to_owned() });
        }
        if self.world.has_faults() && self.rng.once_in(10) {
            return Err(RuntimeError::Artifact { what: "shop".to_owned(), why: "there is none".to_owned() });
        }
        Ok("sha256:fake".to_owned())
    }

    async fn look_up(&self, _: &Workload) -> Result<Option<String>, RuntimeError> {
        Ok(Some("sha256:fake".to_owned()))
    }

    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError> {
        self.maybe_fail("starting").await?;
        if self.world.is_disk_full() {
            return Err(RuntimeError::DiskFull { doing: "creating".to_owned() });
        }
        if self.world.has_faults() && self.rng.once_in(25) {
            return Err(RuntimeError::Start { name: plan.name.clone(), why: "no".to_owned() });
        }
        let behaviour = match plan.service.variables.get("BEHAVIOUR").map(String::as_str) {
            Some("never-healthy") => Behaviour::NeverHealthy,
            Some("exits") => Behaviour::ExitsWhileStarting,
            Some(text) => text.parse().map_or(Behaviour::Good, Behaviour::ExitsAfter),
            None => Behaviour::Good,
        };
        self.world.lock().start(&plan.name, behaviour);
        self.emit(&plan.name, "start");
        self.lose_answer("starting")
    }

    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError> {
        self.listed(|name| name.placement.key == *key).await
    }

    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError> {
        self.listed(|_| true).await
    }

    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
        self.maybe_fail("stopping").await?;
        self.world.lock().stop(name, self.drain);
        self.rng.wait_up_to(grace.0).await;
        self.emit(name, "die");
        self.lose_answer("stopping")
    }

    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        self.maybe_fail("freezing").await?;
        self.world.lock().freeze(name, self.drain);
        self.emit(name, "pause");
        self.lose_answer("freezing")
    }

    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        self.maybe_fail("thawing").await?;
        self.world.lock().thaw(name);
        self.emit(name, "unpause");
        self.lose_answer("thawing")
    }

    async fn keep(&self, _: &AppKey, _: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError> {
        self.maybe_fail("keeping").await
    }

    async fn set_restart(&self, name: &InstanceName, comes_back: bool) -> Result<(), RuntimeError> {
        self.maybe_fail("setting").await?;
        if let Some(instance) = self.world.lock().instances.get_mut(name) {
            instance.comes_back = comes_back;
        }
        self.lose_answer("setting")
    }

    async fn logs(
        &self,
        _: &InstanceName,
        _: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        self.maybe_fail("reading").await?;
        Ok(stream::empty().boxed())
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        Ok(BroadcastStream::new(self.events.subscribe()).filter_map(async |event| event.ok()).boxed())
    }

    async fn listening_ports(&self, _: &InstanceName) -> Vec<u16> {
        Vec::new()
    }

    async fn check(&self) -> Result<String, RuntimeError> {
        Ok("fake".to_owned())
    }
}

/// Ends instances: at random while there are faults, and always by their behaviour.
pub(crate) async fn random_exits(world: World, rng: Rng, events: broadcast::Sender<RuntimeEvent>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut state = world.lock();
        let victims: Vec<_> = state
            .instances
            .iter()
            .filter(|(_, instance)| instance.is_running)
            .filter(|(_, instance)| {
                let by_behaviour = match instance.behaviour {
                    Behaviour::ExitsAfter(ms) => {
                        instance.has_passed && instance.started_at.elapsed().as_millis() > u128::from(ms)
                    }
                    _ => false,
                };
                by_behaviour || (state.has_faults && rng.once_in(400))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in victims {
            state.die(&name, rng.once_in(3));
            if !rng.once_in(5) {
                let _ = events.send(RuntimeEvent { name, what: "die".to_owned() });
            }
        }
    }
}

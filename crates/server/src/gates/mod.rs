//! Gates, carried out: commands, containers, requests and stress tests against a release that nobody else is sent to.

mod command;
mod container;
mod http;
mod junit;
mod load;
mod output;
mod target;

pub use output::Output;
pub use target::Target;

use futures_util::future::BoxFuture;
use gapless_core::gate::{Gate, GateKind, GateResult};
use gapless_runtime::docker::DockerRuntime;
use std::net::SocketAddr;
use std::sync::Arc;

/// One attempt of a gate.
#[derive(Clone)]
pub struct GateRun {
    /// The gate.
    pub gate: Gate,
    /// What is tested, and how it is reached.
    pub target: Target,
    /// Where its output goes, line by line.
    pub output: Output,
}

/// Carries out an attempt of a gate; it has ended with the future, whether that is finished or dropped. A value and not a
/// trait: the simulator passes another one.
pub type GateRunner = Arc<dyn Fn(GateRun) -> BoxFuture<'static, GateResult> + Send + Sync>;

/// The runner of real gates. `listen` is where the proxy listens.
#[must_use]
pub fn runner(docker: Arc<DockerRuntime>, listen: Vec<SocketAddr>) -> GateRunner {
    Arc::new(move |run| {
        let (docker, listen) = (docker.clone(), listen.clone());
        Box::pin(async move {
            let limit = run.gate.timeout;
            let (output, going) = (run.output.clone(), carry_out(run, docker, listen));
            match tokio::time::timeout(limit.to_duration(), going).await {
                Ok(result) => result,
                Err(_) => failed(format!("not done within {limit} (timeout)"), &output),
            }
        })
    })
}

async fn carry_out(run: GateRun, docker: Arc<DockerRuntime>, listen: Vec<SocketAddr>) -> GateResult {
    let door = listen.first().copied().map(target::from_this_host);
    match &run.gate.kind {
        GateKind::Command(command) => command::run(&run, command, door).await,
        GateKind::Container(container) => container::run(&run, container, &docker, &listen).await,
        GateKind::Http(requests) => http::run(&run, requests, door).await,
        GateKind::Load(plan) => load::run(&run, plan, door).await,
    }
}

fn failed(summary: impl Into<String>, output: &Output) -> GateResult {
    result(false, summary, output)
}

fn result(passed: bool, summary: impl Into<String>, output: &Output) -> GateResult {
    GateResult { passed, summary: summary.into(), lines: output.last_lines(), tests: None, latency: None }
}

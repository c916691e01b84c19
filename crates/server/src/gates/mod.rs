//! Runs gates: commands, containers, requests and stress tests against a release that users do not reach yet.

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
    /// The tested release, and how to reach it.
    pub target: Target,
    /// The receiver of the output, line by line.
    pub output: Output,
}

/// Carries out one attempt of a gate. The attempt ends with the future, finished or dropped. A function and not a
/// trait, so that the simulator can pass its own.
pub type GateRunner = Arc<dyn Fn(GateRun) -> BoxFuture<'static, GateResult> + Send + Sync>;

/// The runner of real gates. `listen` has the addresses of the proxy.
#[must_use]
pub fn runner(docker: Arc<DockerRuntime>, listen: Vec<SocketAddr>) -> GateRunner {
    Arc::new(move |run| {
        let (docker, listen) = (docker.clone(), listen.clone());
        Box::pin(async move {
            let limit = run.gate.timeout;
            let (output, attempt) = (run.output.clone(), carry_out(run, docker, listen));
            match tokio::time::timeout(limit.to_duration(), attempt).await {
                Ok(result) => result,
                Err(_) => failed(format!("not finished within {limit} (timeout)"), &output),
            }
        })
    })
}

async fn carry_out(run: GateRun, docker: Arc<DockerRuntime>, listen: Vec<SocketAddr>) -> GateResult {
    let proxy = listen.first().copied().map(target::from_this_host);
    match &run.gate.kind {
        GateKind::Command(command) => command::run(&run, command, proxy).await,
        GateKind::Container(container) => container::run(&run, container, &docker, &listen).await,
        GateKind::Http(requests) => http::run(&run, requests, proxy).await,
        GateKind::Load(plan) => load::run(&run, plan, proxy).await,
    }
}

fn failed(summary: impl Into<String>, output: &Output) -> GateResult {
    result(false, summary, output)
}

fn result(passed: bool, summary: impl Into<String>, output: &Output) -> GateResult {
    GateResult { passed, summary: summary.into(), lines: output.last_lines(), tests: None, latency: None }
}

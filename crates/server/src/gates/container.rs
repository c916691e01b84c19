//! A gate that is a container, which runs to its end on gapless's network.

use super::target::from_this_host;
use super::{GateRun, Output, failed, junit, result};
use gapless_core::gate::{GateContainer, GateResult};
use gapless_runtime::docker::{DockerRuntime, Job};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, PoisonError};

/// The folder of the gate's reports, inside the container.
const RESULTS: &str = "/gapless/results";

pub(super) async fn run(
    run: &GateRun,
    gate: &GateContainer,
    docker: &DockerRuntime,
    listen: &[SocketAddr],
) -> GateResult {
    match run_container(run, gate, docker, listen).await {
        Ok(result) => result,
        Err(why) => failed(why, &run.output),
    }
}

async fn run_container(
    run: &GateRun,
    gate: &GateContainer,
    docker: &DockerRuntime,
    listen: &[SocketAddr],
) -> Result<GateResult, String> {
    let gateway = docker.gateway().await.map_err(|error| error.to_string())?;
    let url = url(run, gateway.as_deref(), listen);
    let folder = tempfile::Builder::new().prefix("gapless-gate-").tempdir();
    let folder = folder.map_err(|error| format!("cannot create a folder for the gate: {error}"))?;
    // The user of the image is unknown, and must be able to write there.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))
        .map_err(|error| error.to_string())?;
    let own = [("GAPLESS_RESULTS".to_owned(), RESULTS.to_owned())];
    let variables = run.target.variables(&url).into_iter().chain(own);
    let target = &run.target;
    let job = Job {
        name: format!("{}.{}.gate.{}.{}", target.key.app, target.key.env, target.deployment, run.gate.name),
        image: gate.image.clone(),
        command: gate.command.clone(),
        variables: variables.collect(),
        folder: (folder.path().to_owned(), RESULTS.to_owned()),
    };
    let lines = Mutex::new(Output::lines());
    let take = |piece: &[u8]| {
        if let Ok(mut lines) = lines.lock() {
            run.output.piece(&mut lines, piece);
        }
    };
    let code = docker.run_job(&job, take).await.map_err(|error| error.to_string())?;
    run.output.end(lines.into_inner().unwrap_or_else(PoisonError::into_inner));
    let summary = if code == 0 { "done".to_owned() } else { format!("exited with code {code}") };
    let reported = junit::read(folder.path());
    Ok(junit::judge(result(code == 0, summary, &run.output), reported))
}

/// The URL of the proxy from inside a container, or of an instance if the proxy listens on loopback only.
fn url(run: &GateRun, gateway: Option<&str>, listen: &[SocketAddr]) -> String {
    let everywhere = listen.iter().find(|address| address.ip().is_unspecified());
    let outside = listen.iter().find(|address| !address.ip().is_unspecified() && !address.ip().is_loopback());
    match (everywhere, gateway, outside, run.target.instances.first()) {
        (Some(address), Some(gateway), ..) => format!("http://{gateway}:{}", address.port()),
        (_, _, Some(address), _) => format!("http://{}", from_this_host(*address)),
        (_, _, _, Some(instance)) => format!("http://{}", instance.1),
        _ => String::new(),
    }
}

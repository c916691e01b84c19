//! Containers that gapless did not create, such as an nginx that serves requests: gapless inspects them, runs programs
//! in them and signals them, and never creates, starts, stops or removes them.

use super::connection::{Connection, Problem};
use crate::RuntimeError;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::KillContainerOptionsBuilder;
use futures_util::StreamExt;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The interval at which a program whose output has ended is inspected until its exit is recorded.
const INSPECT_INTERVAL: Duration = Duration::from_millis(5);

/// The state of a container that gapless did not create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignContainer {
    /// There is no container of that name.
    Missing,
    /// The container does not run.
    Stopped {
        /// The exit code of its first process.
        exit_code: i64,
    },
    /// The container is paused.
    Paused,
    /// The container runs.
    Running {
        /// Its first process, by the host's process id.
        pid: u32,
        /// Its network, as seen from this host.
        network: ForeignNetwork,
    },
}

/// How this host reaches a container that gapless did not create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignNetwork {
    /// At the host's own addresses.
    Host,
    /// At the container's own address.
    Own(IpAddr),
    /// Not at all.
    Nowhere,
}

/// The result of a program in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    /// The exit code.
    pub code: i64,
    /// The standard output.
    pub stdout: Vec<u8>,
    /// The standard error.
    pub stderr: Vec<u8>,
}

/// Inspects the container of that name.
pub(super) async fn inspect(engine: &Connection, name: &str) -> Result<ForeignContainer, RuntimeError> {
    let docker = engine.docker().await?;
    let container = match engine.call(&format!("inspecting {name}"), docker.inspect_container(name, None)).await {
        Ok(container) => container,
        Err(problem) if problem.status() == Some(404) => return Ok(ForeignContainer::Missing),
        Err(problem) => return Err(problem.into_error()),
    };
    let network = network(&container, &engine.config().network);
    let state = container.state.unwrap_or_default();
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Ok(match (state.status, pid) {
        (Some(ContainerStateStatusEnum::PAUSED), _) => ForeignContainer::Paused,
        (Some(ContainerStateStatusEnum::RUNNING), Some(pid)) => ForeignContainer::Running { pid, network },
        _ => ForeignContainer::Stopped { exit_code: state.exit_code.unwrap_or(-1) },
    })
}

/// The container's address; prefers the address in the network of the instances.
fn network(container: &ContainerInspectResponse, preferred: &str) -> ForeignNetwork {
    let mode = container.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    if mode == Some("host") {
        return ForeignNetwork::Host;
    }
    let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let mut addresses: Vec<(bool, &String, IpAddr)> = networks
        .into_iter()
        .flatten()
        .filter_map(|(name, network)| Some((name != preferred, name, network.ip_address.as_ref()?.parse().ok()?)))
        .collect();
    addresses.sort();
    addresses.first().map_or(ForeignNetwork::Nowhere, |(_, _, address)| ForeignNetwork::Own(*address))
}

/// Runs a program in a container; keeps at most `bytes_max` bytes of each of its outputs.
pub(super) async fn execute(
    engine: &Connection,
    name: &str,
    command: &[String],
    deadline: Duration,
    bytes_max: usize,
) -> Result<Executed, RuntimeError> {
    let docker = engine.docker().await?;
    let program = command.first().map_or("", String::as_str);
    let doing = format!("running {program} in {name}");
    let running = async {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let problem = |error| engine.problem(&doing, error);
        let id = docker.create_exec(name, options).await.map_err(problem)?.id;
        let mut executed = Executed::default();
        if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&id, None).await.map_err(problem)? {
            while let Some(piece) = output.next().await {
                let (kept, message) = match piece.map_err(problem)? {
                    LogOutput::StdErr { message } => (&mut executed.stderr, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut executed.stdout, message),
                    LogOutput::StdIn { .. } => continue,
                };
                let room = bytes_max.saturating_sub(kept.len());
                kept.extend(message.iter().take(room));
            }
        }
        // The Engine records the exit a little later than the end of the output.
        loop {
            let seen = docker.inspect_exec(&id).await.map_err(problem)?;
            match (seen.running, seen.exit_code) {
                (Some(true), _) | (_, None) => tokio::time::sleep(INSPECT_INTERVAL).await,
                (_, Some(code)) => {
                    executed.code = code;
                    return Ok(executed);
                }
            }
        }
    };
    match tokio::time::timeout_at(Instant::now() + deadline, running).await {
        Ok(executed) => executed.map_err(Problem::into_error),
        Err(_) => Err(Problem::Timeout { doing, seconds: deadline.as_secs() }.into_error()),
    }
}

/// Sends a signal to a container's first process.
pub(super) async fn signal(engine: &Connection, name: &str, signal: &str) -> Result<(), RuntimeError> {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    let sending = engine.docker().await?.kill_container(name, Some(options));
    engine.call(&format!("sending {signal} to {name}"), sending).await.map_err(Problem::into_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{EndpointSettings, HostConfig, NetworkSettings};
    use std::collections::HashMap;

    #[test]
    fn address_in_the_network_of_instances_is_preferred() {
        let at = |address: &str| EndpointSettings { ip_address: Some(address.to_owned()), ..Default::default() };
        let with = |mode: &str, networks: Vec<(&str, &str)>| ContainerInspectResponse {
            host_config: Some(HostConfig { network_mode: Some(mode.to_owned()), ..Default::default() }),
            network_settings: Some(NetworkSettings {
                networks: Some(
                    networks.into_iter().map(|(name, ip)| (name.to_owned(), at(ip))).collect::<HashMap<_, _>>(),
                ),
                ..Default::default()
            }),
            ..Default::default()
        };
        let own = |address: &str| ForeignNetwork::Own(address.parse().unwrap());
        let both = vec![("bridge", "172.17.0.2"), ("gapless", "172.18.0.2")];
        assert_eq!(network(&with("bridge", both), "gapless"), own("172.18.0.2"));
        assert_eq!(network(&with("bridge", vec![("bridge", "172.17.0.2")]), "gapless"), own("172.17.0.2"));
        assert_eq!(network(&with("host", vec![("host", "")]), "gapless"), ForeignNetwork::Host);
        assert_eq!(network(&with("none", vec![("none", "")]), "gapless"), ForeignNetwork::Nowhere);
    }
}

//! A container of somebody else's, such as the nginx that carries requests: gapless looks at it, runs programs in it and
//! signals it, and never creates, starts, stops or removes it.

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

/// How often it is looked whether a program whose output has ended is recorded as ended, too.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What became of a container of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// There is none of that name.
    Missing,
    /// It does not run.
    Stopped {
        /// What its first process ended with.
        exit_code: i64,
    },
    /// It is paused: nothing in it goes on.
    Paused,
    /// It runs.
    Running {
        /// Its first process, as this host numbers it.
        pid: u32,
        /// How it is reached.
        network: ForeignNetwork,
    },
}

/// How a container of somebody else's is reached from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignNetwork {
    /// At this host's own addresses.
    Host,
    /// At an address of its own.
    Own(IpAddr),
    /// Not at all.
    Nowhere,
}

/// What a program in a container did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i64,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// How the container of that name is.
pub(super) async fn look(engine: &Connection, name: &str) -> Result<Foreign, RuntimeError> {
    let docker = engine.docker().await?;
    let container = match engine.call(&format!("looking at {name}"), docker.inspect_container(name, None)).await {
        Ok(container) => container,
        Err(problem) if problem.status() == Some(404) => return Ok(Foreign::Missing),
        Err(problem) => return Err(problem.into_error()),
    };
    let network = network(&container, &engine.config().network);
    let state = container.state.unwrap_or_default();
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Ok(match (state.status, pid) {
        (Some(ContainerStateStatusEnum::PAUSED), _) => Foreign::Paused,
        (Some(ContainerStateStatusEnum::RUNNING), Some(pid)) => Foreign::Running { pid, network },
        _ => Foreign::Stopped { exit_code: state.exit_code.unwrap_or(-1) },
    })
}

/// The address in the network that instances are in goes before others.
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

/// Runs a program in a container, of whose output at most `bytes_max` are kept each.
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
        // The Engine notices the end a little later than the output's.
        loop {
            let seen = docker.inspect_exec(&id).await.map_err(problem)?;
            match (seen.running, seen.exit_code) {
                (Some(true), _) | (_, None) => tokio::time::sleep(LOOK_EVERY).await,
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
    fn the_address_among_instances_goes_before_others() {
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

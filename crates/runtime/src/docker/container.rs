//! Creates containers from plans, starts and removes them, and sets their restart policy.

use super::addresses::Addresses;
use super::connection::{Connection, Problem, ignore_statuses};
use super::network;
use super::observe::{self, label};
use crate::{InstancePlan, RuntimeError, port_owner};
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HostConfig, HostConfigLogConfig, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use gapless_core::InstanceName;
use gapless_core::spec::{Container, Workload};
use std::collections::HashMap;
use std::time::Duration;

/// How long the Engine may take to start a container: many starts at once take seconds.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// The Engine's error if another container has the address.
const ADDRESS_TAKEN: &str = "Address already in use";
/// The Engine's error if it was killed at the wrong moment: it counts the container as ended, but containerd still has
/// a task of it, so the container can never be started again.
const TASK_IS_LEFT: &str = "already exists";
/// To how many other addresses an instance is moved when its address is taken.
const MOVES_MAX: u32 = 4;

/// Creates and starts the container of that plan; an existing container is only started, or recreated if it cannot be.
pub(super) async fn start(engine: &Connection, plan: &InstancePlan) -> Result<(), RuntimeError> {
    let Workload::Docker(container) = &plan.service.workload else {
        return Err(RuntimeError::Start { name: plan.name.clone(), why: "it is not a container".to_owned() });
    };
    let mut addresses = network::ensure(engine, false).await?;
    let (id, is_new) = match create(engine, plan, container, addresses.as_ref()).await {
        Ok(id) => (id, true),
        Err(problem) if problem.status() == Some(409) => (existing(engine, plan).await?, false),
        Err(problem) => return Err(explain(problem, plan)),
    };
    if !plan.peers.is_empty() {
        network::join(engine, &plan.name, &id).await?;
    }
    let mut started = run(engine, &id, plan).await;
    // The network may have been removed since its inspection, and recreated with other addresses.
    if let Err(problem) = &started
        && is_of_another_network(problem)
    {
        addresses = network::ensure(engine, true).await?;
        if let Some(addresses) = &addresses {
            network::move_to(engine, &id, addresses.address_of(&plan.name, 0)).await?;
        }
        started = run(engine, &id, plan).await;
    }
    if let Some(addresses) = addresses {
        for attempt in 1..=MOVES_MAX {
            let Err(problem) = &started else { break };
            if !problem.message().contains(ADDRESS_TAKEN) {
                break;
            }
            network::move_to(engine, &id, addresses.address_of(&plan.name, attempt)).await?;
            started = run(engine, &id, plan).await;
        }
    }
    match started {
        Err(problem) if !is_new && problem.message().contains(TASK_IS_LEFT) => {
            let why = problem.message();
            tracing::warn!(instance = %plan.name, why, "Docker cannot start this container again; recreating it");
            remove(engine, &plan.name, &id).await?;
            Box::pin(start(engine, plan)).await
        }
        other => other.map_err(|problem| explain(problem, plan)),
    }
}

/// Removes a container in any state.
pub(super) async fn remove(engine: &Connection, name: &InstanceName, id: &str) -> Result<(), RuntimeError> {
    // Removes its anonymous volumes, which nothing else can name; named volumes stay.
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removing = engine.docker().await?.remove_container(id, Some(options));
    ignore_statuses(engine.call(&format!("removing {name}"), removing).await, &[404, 409])
}

/// The container was created for a network that no longer exists.
fn is_of_another_network(problem: &Problem) -> bool {
    let message = problem.message();
    message.contains("network") && (message.contains("not found") || message.contains("does not belong to any of"))
}

async fn create(
    engine: &Connection,
    plan: &InstancePlan,
    container: &Container,
    addresses: Option<&Addresses>,
) -> Result<String, Problem> {
    let docker = engine.docker().await.map_err(Problem::Unavailable)?;
    let options = CreateContainerOptionsBuilder::new().name(&plan.name.to_string()).build();
    let mut body = body(engine, plan, container);
    body.networking_config = addresses.map(|addresses| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(
            engine.config().network.clone(),
            network::endpoint_at(addresses.address_of(&plan.name, 0)),
        )])),
    });
    let creating = docker.create_container(Some(options), body);
    Ok(engine.within(START_DEADLINE, &format!("creating {}", plan.name), creating).await?.id)
}

async fn run(engine: &Connection, id: &str, plan: &InstancePlan) -> Result<(), Problem> {
    let docker = engine.docker().await.map_err(Problem::Unavailable)?;
    let starting = docker.start_container(id, None);
    match engine.within(START_DEADLINE, &format!("starting {}", plan.name), starting).await {
        // 304: the container already runs.
        Err(problem) if problem.status() == Some(304) => Ok(()),
        // The container is frozen; the caller thaws it if needed.
        Err(problem) if problem.message().contains("paused") => Ok(()),
        other => other,
    }
}

/// The container with the plan's name, if it is this owner's.
async fn existing(engine: &Connection, plan: &InstancePlan) -> Result<String, RuntimeError> {
    let name = &plan.name;
    observe::own(engine, name).await?.ok_or_else(|| RuntimeError::Start {
        name: name.clone(),
        why: format!(
            "a container {name} exists that this gapless did not create; remove it with `docker rm -f {name}`, \
             or rename it"
        ),
    })
}

fn body(engine: &Connection, plan: &InstancePlan, container: &Container) -> ContainerCreateBody {
    let service = &plan.service;
    let port = format!("{}/tcp", service.port);
    let port_bindings = plan.host_port.map(|host_port| {
        // Loopback only: requests from outside go through the proxy.
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port.to_string()) };
        HashMap::from([(port.clone(), Some(vec![binding]))])
    });
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let memory = service.resources.memory_bytes.map(bytes);
    let binds = container.volumes.iter().map(|volume| {
        let mode = if volume.read_only { ":ro" } else { "" };
        format!("{}:{}{mode}", volume.source, volume.path)
    });
    let log = HashMap::from([
        ("max-size".to_owned(), service.log.file_bytes.to_string()),
        ("max-file".to_owned(), service.log.file_count.to_string()),
    ]);
    ContainerCreateBody {
        image: Some(plan.artifact.clone()),
        cmd: container.command.clone(),
        entrypoint: container.entrypoint.clone(),
        user: container.user.clone(),
        env: Some(variables(plan)),
        labels: Some(labels(engine, plan)),
        exposed_ports: plan.host_port.map(|_| vec![port]),
        host_config: Some(HostConfig {
            network_mode: Some(engine.config().network.clone()),
            port_bindings,
            binds: Some(binds.collect()),
            init: Some(container.init),
            memory,
            // The same as the memory: no swap.
            memory_swap: memory,
            nano_cpus: service.resources.cpu_millis.map(|millis| bytes(millis.saturating_mul(1_000_000))),
            // Until the slot is live, the container must not start after a reboot.
            restart_policy: Some(restart_policy(false)),
            log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn variables(plan: &InstancePlan) -> Vec<String> {
    let own = crate::instance::variables(plan, plan.service.port);
    let peers = plan.peers.iter().filter(|(_, peer)| peer.port != 0);
    let peers = peers.map(|(name, peer)| (crate::instance::peer_variable(name), format!("{name}:{}", peer.port)));
    let users = plan.service.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
    own.into_iter().chain(peers).chain(users).map(|(name, value)| format!("{name}={value}")).collect()
}

fn labels(engine: &Connection, plan: &InstancePlan) -> HashMap<String, String> {
    let placement = &plan.name.placement;
    [
        (label::OWNER, engine.config().owner.clone()),
        (label::APP, placement.key.app.to_string()),
        (label::ENVIRONMENT, placement.key.env.to_string()),
        (label::SERVICE, plan.name.service.to_string()),
        (label::SLOT, placement.slot.to_string()),
        (label::DEPLOYMENT, placement.deployment.to_string()),
        (label::RELEASE, plan.release.to_string()),
        (label::REPLICA, plan.name.replica.to_string()),
        (label::PORT, plan.service.port.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Sets if the container starts again after a restart of the host.
pub(super) async fn set_restart(
    engine: &Connection,
    name: &InstanceName,
    starts_at_boot: bool,
) -> Result<(), RuntimeError> {
    let docker = engine.docker().await?;
    let body =
        ContainerUpdateBody { restart_policy: Some(restart_policy(starts_at_boot)), ..ContainerUpdateBody::default() };
    let name = name.to_string();
    let update = docker.update_container(&name, body);
    ignore_statuses(engine.call(&format!("setting the restart policy of {name}"), update).await, &[404])
}

fn restart_policy(starts_at_boot: bool) -> RestartPolicy {
    let name = if starts_at_boot { RestartPolicyNameEnum::UNLESS_STOPPED } else { RestartPolicyNameEnum::NO };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

fn explain(problem: Problem, plan: &InstancePlan) -> RuntimeError {
    let message = problem.message();
    if let Some(port) = plan.host_port
        && (message.contains("port is already allocated") || message.contains("address already in use"))
    {
        return RuntimeError::PortTaken { port, owner: port_owner(port) };
    }
    if problem.status() == Some(404) && message.contains("No such image") {
        let why = format!("its image {} is no longer on this host; deploy it again", plan.artifact);
        return RuntimeError::Start { name: plan.name.clone(), why };
    }
    match problem.into_error() {
        RuntimeError::Failed { why, .. } => RuntimeError::Start { name: plan.name.clone(), why },
        error => error,
    }
}

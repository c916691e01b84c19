//! Networks: gapless's own network, which all instances join, and one network for each placement of several services.
//! In the latter the services reach each other by name, so `api` is the service of the same slot, never that of the
//! other slot.

use super::addresses::{Addresses, halved};
use super::connection::{Connection, Problem, ignore_statuses};
use super::observe::label;
use crate::RuntimeError;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
    NetworkInspect,
};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use gapless_core::{InstanceName, PlacementId};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Ensures that gapless's network exists, and returns its addresses that are reserved for instances, if any. The result
/// is cached until a failed start sets `is_in_doubt`.
pub(super) async fn ensure(engine: &Connection, is_in_doubt: bool) -> Result<Option<Addresses>, RuntimeError> {
    let mut seen = engine.network.lock().await;
    if let Some(addresses) = &*seen
        && !is_in_doubt
    {
        return Ok(addresses.clone());
    }
    let addresses = own(engine).await?;
    *seen = Some(addresses.clone());
    Ok(addresses)
}

/// Creates gapless's own network unless it exists.
async fn own(engine: &Connection) -> Result<Option<Addresses>, RuntimeError> {
    let name = &engine.config().network;
    if let Some(network) = inspect(engine, name).await? {
        return Ok(Addresses::of(&network));
    }
    // Only the Engine knows which subnet is free on this host, and instances can request fixed addresses only in an
    // explicit subnet. So the Engine chooses one for a temporary network.
    let choice = format!("{name}.new");
    remove(engine, &choice).await?;
    create(engine, &choice, None).await?;
    let chosen = inspect(engine, &choice).await?;
    remove(engine, &choice).await?;
    let ipam = chosen.as_ref().and_then(halved);
    create(engine, name, ipam).await?;
    let created = inspect(engine, name).await?;
    Ok(created.as_ref().and_then(Addresses::of))
}

/// Inspects the network of that name.
async fn inspect(engine: &Connection, name: &str) -> Result<Option<NetworkInspect>, RuntimeError> {
    let docker = engine.docker().await?;
    let doing = format!("inspecting the network {name}");
    let looked = match engine.call(&doing, docker.inspect_network(name, None)).await {
        Err(problem) if is_ambiguous(&problem) => {
            remove_each(engine, name).await?;
            engine.call(&doing, docker.inspect_network(name, None)).await
        }
        looked => looked,
    };
    match looked {
        Ok(network) => Ok(Some(network)),
        Err(problem) if problem.status() == Some(404) => Ok(None),
        Err(problem) => Err(problem.into_error()),
    }
}

async fn create(engine: &Connection, name: &str, ipam: Option<Ipam>) -> Result<(), RuntimeError> {
    let docker = engine.docker().await?;
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam,
        labels: Some(HashMap::from([(label::NETWORK.to_owned(), engine.config().owner.clone())])),
        ..NetworkCreateRequest::default()
    };
    let created = engine.call(&format!("creating the network {name}"), docker.create_network(request)).await;
    // 409: somebody else created it at the same time.
    ignore_statuses(created.map(drop), &[409])
}

async fn remove(engine: &Connection, name: &str) -> Result<(), RuntimeError> {
    let docker = engine.docker().await?;
    match engine.call(&format!("removing the network {name}"), docker.remove_network(name)).await {
        Err(problem) if is_ambiguous(&problem) => remove_each(engine, name).await,
        // 403: it has containers.
        removed => ignore_statuses(removed, &[403, 404]),
    }
}

/// There are several networks of one name: before version 1.44 of its API, the Engine creates another network if it
/// reported the first one as missing.
fn is_ambiguous(problem: &Problem) -> bool {
    problem.message().contains("is ambiguous")
}

/// Removes all unused networks of gapless that have that name.
async fn remove_each(engine: &Connection, name: &str) -> Result<(), RuntimeError> {
    let docker = engine.docker().await?;
    let label = format!("{}={}", label::NETWORK, engine.config().owner);
    let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()]), ("label".to_owned(), vec![label])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listed = engine.call("listing networks", docker.list_networks(Some(options))).await;
    // The Engine's filter matches substrings of the name.
    let of_the_name = listed.map_err(Problem::into_error)?.into_iter().filter(|it| it.name.as_deref() == Some(name));
    for id in of_the_name.filter_map(|network| network.id) {
        let removed = engine.call(&format!("removing a network {name}"), docker.remove_network(&id)).await;
        ignore_statuses(removed, &[403, 404])?;
    }
    Ok(())
}

/// The name of the network of a placement's services.
fn name_of(engine: &Connection, placement: &PlacementId) -> String {
    let PlacementId { key, slot, deployment } = placement;
    format!("{}.{}.{}.{slot}.{deployment}", engine.config().network, key.app, key.env)
}

/// Connects a container to the network of its placement, under the name of its service.
pub(super) async fn join(engine: &Connection, name: &InstanceName, id: &str) -> Result<(), RuntimeError> {
    let network = name_of(engine, &name.placement);
    {
        // Serialized: many instances start at once, and each would create the network.
        let _creating = engine.network.lock().await;
        if inspect(engine, &network).await?.is_none() {
            create(engine, &network, None).await?;
        }
    }
    let endpoint = EndpointSettings { aliases: Some(vec![name.service.to_string()]), ..EndpointSettings::default() };
    let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
    let docker = engine.docker().await?;
    let joining = docker.connect_network(&network, request);
    match engine.call(&format!("connecting {name} to its network"), joining).await {
        // The container is already connected.
        Err(problem) if problem.message().contains("already exists in network") => Ok(()),
        other => other.map_err(Problem::into_error),
    }
}

/// Removes the network of a placement, if it exists and has no running containers.
pub(super) async fn leave(engine: &Connection, placement: &PlacementId) -> Result<(), RuntimeError> {
    remove(engine, &name_of(engine, placement)).await
}

/// The settings that request that address for a container.
pub(super) fn endpoint_at(address: Ipv4Addr) -> EndpointSettings {
    let ipam = EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..EndpointIpamConfig::default() };
    EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
}

/// Moves a stopped container to another address in gapless's network.
pub(super) async fn move_to(engine: &Connection, id: &str, address: Ipv4Addr) -> Result<(), RuntimeError> {
    let (docker, network) = (engine.docker().await?, &engine.config().network);
    let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(true) };
    let leaving = docker.disconnect_network(network, request);
    // 403, 404: the container is not connected.
    ignore_statuses(engine.call("freeing an address", leaving).await, &[403, 404])?;
    let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint_at(address)) };
    let joining = docker.connect_network(network, request);
    engine.call(&format!("taking the address {address}"), joining).await.map_err(Problem::into_error)
}

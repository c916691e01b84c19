//! Networks: one of gapless's own that all instances are in, and one for each placement of several services, in which
//! they reach each other by name. So `api` is the service of the same slot, and never that of the other one.

use super::connection::{Connection, Problem};
use super::observe::label;
use crate::RuntimeError;
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest};
use gapless_core::{InstanceName, PlacementId};
use std::collections::HashMap;

/// Sees to it that the network is there. Seen once, it is believed until a start says otherwise.
pub(super) async fn ensure(engine: &Connection, is_in_doubt: bool) -> Result<(), RuntimeError> {
    let mut is_there = engine.network_is_there.lock().await;
    if *is_there && !is_in_doubt {
        return Ok(());
    }
    create(engine, &engine.config().network).await?;
    *is_there = true;
    Ok(())
}

/// Creates the network unless it is there.
async fn create(engine: &Connection, name: &str) -> Result<(), RuntimeError> {
    let docker = engine.docker().await?;
    match engine.call(&format!("looking for the network {name}"), docker.inspect_network(name, None)).await {
        Ok(_) => return Ok(()),
        Err(problem) if problem.status() == Some(404) => {}
        Err(problem) => return Err(problem.into_error()),
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(HashMap::from([(label::NETWORK.to_owned(), engine.config().owner.clone())])),
        ..NetworkCreateRequest::default()
    };
    let created = engine.call(&format!("creating the network {name}"), docker.create_network(request)).await;
    // Created by somebody else at the same time is as good.
    super::ignore(created.map(drop), &[409])
}

/// The network of a placement's services.
fn name_of(engine: &Connection, placement: &PlacementId) -> String {
    let PlacementId { key, slot, deployment } = placement;
    format!("{}.{}.{}.{slot}.{deployment}", engine.config().network, key.app, key.env)
}

/// Puts a container into the network of its placement, where it has the name of its service.
pub(super) async fn join(engine: &Connection, name: &InstanceName, id: &str) -> Result<(), RuntimeError> {
    let network = name_of(engine, &name.placement);
    {
        // One at a time: many instances start at once, and each would create it.
        let _creating = engine.network_is_there.lock().await;
        create(engine, &network).await?;
    }
    let endpoint = EndpointSettings { aliases: Some(vec![name.service.to_string()]), ..EndpointSettings::default() };
    let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
    let docker = engine.docker().await?;
    let joining = docker.connect_network(&network, request);
    match engine.call(&format!("connecting {name} to its network"), joining).await {
        // It is in it already.
        Err(problem) if problem.message().contains("already exists in network") => Ok(()),
        other => other.map_err(Problem::into_error),
    }
}

/// Removes the network of a placement, unless there is none or one of its containers runs.
pub(super) async fn leave(engine: &Connection, placement: &PlacementId) -> Result<(), RuntimeError> {
    let network = name_of(engine, placement);
    let docker = engine.docker().await?;
    let removing = docker.remove_network(&network);
    super::ignore(engine.call(&format!("removing the network {network}"), removing).await, &[403, 404])
}

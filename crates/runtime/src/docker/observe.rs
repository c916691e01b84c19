//! Lists and watches this owner's containers.

use super::connection::{Connection, Problem};
use crate::{Exit, InstanceState, InstanceStatus, RuntimeError, RuntimeEvent};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gapless_core::{AppKey, InstanceName, Timestamp};
use std::collections::HashMap;
use std::net::SocketAddr;

/// The labels of gapless's containers.
pub(super) mod label {
    pub const OWNER: &str = "dev.gapless.owner";
    pub const APP: &str = "dev.gapless.app";
    pub const ENVIRONMENT: &str = "dev.gapless.environment";
    pub const SERVICE: &str = "dev.gapless.service";
    pub const SLOT: &str = "dev.gapless.slot";
    pub const DEPLOYMENT: &str = "dev.gapless.deployment";
    pub const RELEASE: &str = "dev.gapless.release";
    pub const REPLICA: &str = "dev.gapless.replica";
    pub const PORT: &str = "dev.gapless.port";
    pub const JOB: &str = "dev.gapless.job";
    pub const NETWORK: &str = "dev.gapless.network";
}

/// How many containers are inspected at a time.
const INSPECTED_AT_ONCE: usize = 8;

/// This owner's containers, those of one application or all.
pub(super) async fn list(engine: &Connection, key: Option<&AppKey>) -> Result<Vec<InstanceStatus>, RuntimeError> {
    let listed = ids(engine, key).await?;
    let statuses: Vec<_> = stream::iter(listed)
        .map(|id| async move { inspect(engine, &id).await.map(|status| (id, status)) })
        .buffered(INSPECTED_AT_ONCE)
        .collect()
        .await;
    let statuses = statuses.into_iter().collect::<Result<Vec<_>, _>>()?;
    let missing: Vec<_> = statuses.iter().filter(|(_, seen)| matches!(seen, Inspected::Missing)).collect();
    // A container that is listed and then missing is gone only if a second list agrees; otherwise the Engine
    // contradicts itself.
    if !missing.is_empty() {
        let still_listed = ids(engine, key).await?;
        if let Some((id, _)) = missing.iter().find(|(id, _)| still_listed.contains(id)) {
            let why = format!("the Engine lists the container {id}, and reports it as missing when it is inspected");
            return Err(RuntimeError::Failed { doing: "listing containers".to_owned(), why });
        }
    }
    let mut statuses: Vec<_> = statuses.into_iter().filter_map(|(_, seen)| seen.status()).collect();
    // An Engine that shuts down accepts no connections, ends its containers, and still reports that on old connections.
    if statuses.iter().any(|status| matches!(status.state, InstanceState::Exited(_))) {
        engine.must_accept().await?;
    }
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(statuses)
}

async fn ids(engine: &Connection, key: Option<&AppKey>) -> Result<Vec<String>, RuntimeError> {
    let mut labels = vec![format!("{}={}", label::OWNER, engine.config().owner)];
    if let Some(key) = key {
        labels.push(format!("{}={}", label::APP, key.app));
        labels.push(format!("{}={}", label::ENVIRONMENT, key.env));
    }
    Ok(labelled(engine, labels).await?.into_iter().filter_map(|container| container.id).collect())
}

/// The containers with all of these labels, running or not.
pub(super) async fn labelled(engine: &Connection, labels: Vec<String>) -> Result<Vec<ContainerSummary>, RuntimeError> {
    let docker = engine.docker().await?;
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = engine.call("listing containers", docker.list_containers(Some(options))).await;
    listed.map_err(Problem::into_error)
}

/// The result of inspecting a container.
enum Inspected {
    Instance(InstanceStatus),
    /// A container that gapless did not create.
    Other,
    Missing,
}

impl Inspected {
    fn status(self) -> Option<InstanceStatus> {
        match self {
            Inspected::Instance(status) => Some(status),
            Inspected::Other | Inspected::Missing => None,
        }
    }
}

async fn inspect(engine: &Connection, id: &str) -> Result<Inspected, RuntimeError> {
    let docker = engine.docker().await?;
    match engine.call("inspecting a container", docker.inspect_container(id, None)).await {
        Ok(container) => Ok(status(engine, container).map_or(Inspected::Other, Inspected::Instance)),
        Err(problem) if problem.status() == Some(404) => Ok(Inspected::Missing),
        Err(problem) => Err(problem.into_error()),
    }
}

/// The id of the container of that name, if it is this owner's.
pub(super) async fn own(engine: &Connection, name: &InstanceName) -> Result<Option<String>, RuntimeError> {
    let docker = engine.docker().await?;
    match engine.call(&format!("inspecting {name}"), docker.inspect_container(&name.to_string(), None)).await {
        Ok(container) => {
            let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
            let is_own = labels.get(label::OWNER) == Some(&engine.config().owner);
            Ok(container.id.filter(|_| is_own))
        }
        Err(problem) if problem.status() == Some(404) => Ok(None),
        Err(problem) => Err(problem.into_error()),
    }
}

/// The main process of a running container, by the host's process id.
pub(super) async fn process_of(engine: &Connection, name: &InstanceName) -> Option<u32> {
    let docker = engine.docker().await.ok()?;
    let inspected =
        engine.call("inspecting a container", docker.inspect_container(&name.to_string(), None)).await.ok()?;
    inspected.state?.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

fn status(engine: &Connection, container: ContainerInspectResponse) -> Option<InstanceStatus> {
    let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
    let name: InstanceName = container.name?.trim_start_matches('/').parse().ok()?;
    let seen = container.state?;
    let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let address = networks.get(&engine.config().network).and_then(|network| network.ip_address.as_ref()?.parse().ok());
    let port = labels.get(label::PORT).and_then(|port| port.parse().ok());
    let address = address.zip(port).map(|(ip, port)| SocketAddr::new(ip, port));
    let exited = || {
        InstanceState::Exited(Exit {
            code: seen.exit_code,
            out_of_memory: seen.oom_killed.unwrap_or(false),
            at: instant(seen.finished_at.as_deref()),
        })
    };
    let state = match (seen.status, address) {
        (Some(ContainerStateStatusEnum::RUNNING), Some(address)) => {
            InstanceState::Running { address, since: instant(seen.started_at.as_deref()) }
        }
        (Some(ContainerStateStatusEnum::PAUSED), _) => {
            InstanceState::Frozen { since: instant(seen.started_at.as_deref()) }
        }
        // A running container without an address is being connected to its network.
        (Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::RUNNING), _) => InstanceState::Created,
        _ => exited(),
    };
    let restarts = container.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    Some(InstanceStatus { name, id: container.id?, state, restarts })
}

/// Parses an RFC 3339 instant of the Engine, always in UTC, such as `2026-01-02T03:04:05.678901234Z`.
pub(super) fn instant(text: Option<&str>) -> Timestamp {
    let parse = |text: &str| {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        u64::try_from(seconds * 1000 + millis).ok()
    };
    Timestamp(text.and_then(parse).unwrap_or(0))
}

/// Days from 1970-01-01 to a Gregorian date
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Hints that this owner's containers have changed.
pub(super) async fn events(engine: &Connection) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
    let docker = engine.docker().await?.clone();
    // Reports an unreachable Engine at once; otherwise the stream would just end.
    engine.call("asking for events", docker.ping()).await.map_err(Problem::into_error)?;
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{}={}", label::OWNER, engine.config().owner)]),
        ("event".to_owned(), ["start", "die", "oom", "pause", "unpause", "destroy"].map(str::to_owned).to_vec()),
    ]);
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    let (sender, receiver) = tokio::sync::mpsc::channel(EVENTS_WAITING_MAX);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(docker.events(Some(options)));
        while let Some(Ok(event)) = events.next().await {
            if let Some(event) = event_of(event)
                && sender.send(event).await.is_err()
            {
                return;
            }
        }
    });
    Ok(tokio_stream::wrappers::ReceiverStream::new(receiver).boxed())
}

/// How many events may wait.
const EVENTS_WAITING_MAX: usize = 256;

fn event_of(event: EventMessage) -> Option<RuntimeEvent> {
    let name = event.actor?.attributes?.get("name")?.parse().ok()?;
    Some(RuntimeEvent { name, what: event.action.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_the_engine_are_parsed() {
        assert_eq!(instant(Some("1970-01-01T00:00:00Z")), Timestamp(0));
        assert_eq!(instant(Some("2026-11-23T16:20:14.1234567Z")), Timestamp(1_795_450_814_123));
        assert_eq!(instant(Some("2024-02-29T23:59:59.5Z")), Timestamp(1_709_251_199_500));
        assert_eq!(instant(Some("nonsense")), Timestamp(0));
        assert_eq!(instant(None), Timestamp(0));
    }
}

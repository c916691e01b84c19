//! The output of an application's instances, as an event stream.

use super::api::Api;
use super::error::Failure;
use super::extract::{Key, Params};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use gapless_api::{Code, LogRecord};
use gapless_core::{InstanceName, Placement, ServiceName, Slot};
use gapless_runtime::{LogQuery, LogStream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

/// The maximum and the default number of lines of each instance in one answer.
const TAIL_MAX: usize = 10_000;
const TAIL_DEFAULT: usize = 100;

#[derive(Deserialize)]
pub(super) struct LogParams {
    slot: Option<Slot>,
    service: Option<ServiceName>,
    tail: Option<usize>,
    #[serde(default)]
    follow: bool,
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}/logs",
    params(("app" = String, Path), ("env" = String, Path), ("slot" = Option<Slot>, Query),
        ("service" = Option<String>, Query), ("tail" = Option<usize>, Query),
        ("follow" = Option<bool>, Query)),
    responses((status = 200, content_type = "text/event-stream", body = LogRecord)))]
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Key(key): Key,
    Params(params): Params<LogParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let app = api.operations.application(&key).await?.record;
    // Without a slot, use the live placement, or all placements if nothing is live.
    let placements: Vec<&Placement> = match (params.slot, app.live_placement()) {
        (Some(slot), _) => app.slots.get(&slot).into_iter().collect(),
        (None, Some(live)) => vec![live],
        (None, None) => app.placements().collect(),
    };
    let query = LogQuery { tail: params.tail.unwrap_or(TAIL_DEFAULT).min(TAIL_MAX), follow: params.follow };
    let mut streams = Vec::new();
    for placement in placements {
        let runtime = api.shared.runtimes.of(&placement.spec);
        let is_wanted = |name: &InstanceName| params.service.as_ref().is_none_or(|service| name.service == *service);
        for name in placement.instances().filter(is_wanted) {
            let lines = runtime.logs(&name, query).await;
            let lines = lines.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
            let (slot, instance) = (placement.id.slot, name.to_string());
            streams.push(
                lines
                    .filter_map(async |line| line.ok())
                    .map(move |line| LogRecord {
                        instance: instance.clone(),
                        slot,
                        at: line.at,
                        stream: match line.stream {
                            LogStream::Stdout => "stdout".to_owned(),
                            LogStream::Stderr => "stderr".to_owned(),
                        },
                        text: line.text,
                    })
                    .boxed(),
            );
        }
    }
    let events = stream::select_all(streams).map(|record| Ok(Event::default().json_data(record).unwrap_or_default()));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

//! Images: resolved once to an immutable id, and pulled if missing.

use super::connection::{Connection, Problem};
use super::credentials;
use crate::{Progress, ProgressSink, RuntimeError};
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a pull may make no progress.
const PULL_IDLE_DEADLINE: Duration = Duration::from_secs(60);

/// The id of the image `reference`, which is pulled if it is not on this host. As with `docker run`, an existing local
/// image is used unchanged; deploy a new tag or a digest to get a new image.
pub(super) async fn resolve(
    engine: &Connection,
    reference: &str,
    progress: ProgressSink,
) -> Result<String, RuntimeError> {
    if let Some(id) = local(engine, reference).await? {
        return Ok(id);
    }
    pull(engine, reference, progress).await?;
    local(engine, reference).await?.ok_or_else(|| RuntimeError::Artifact {
        what: format!("the image {reference}"),
        why: "it was pulled and is missing again; check if something removes images on this host".to_owned(),
    })
}

/// The id of the image `reference`, if it is on this host.
pub(super) async fn local(engine: &Connection, reference: &str) -> Result<Option<String>, RuntimeError> {
    let docker = engine.docker().await?;
    match engine.call(&format!("inspecting the image {reference}"), docker.inspect_image(reference)).await {
        Ok(image) => Ok(image.id),
        Err(problem) if problem.status() == Some(404) => Ok(None),
        Err(problem) => Err(problem.into_error()),
    }
}

async fn pull(engine: &Connection, reference: &str, progress: ProgressSink) -> Result<(), RuntimeError> {
    let registry = registry_of(reference);
    let credentials = credentials::of(&registry, engine.config().docker_config.as_deref()).await;
    let (name, tag) = split(reference);
    let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
    let docker = engine.docker().await?;
    let doing = format!("pulling {reference}");
    let mut pulling = docker.create_image(Some(options), None, credentials.map_err(|why| unfetched(reference, why))?);
    let mut layers = Layers::default();
    loop {
        match tokio::time::timeout(PULL_IDLE_DEADLINE, pulling.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => progress(layers.after(&doing, info)),
            Ok(Some(Err(error))) => return Err(explain(engine.problem(&doing, error), reference, &registry)),
            Err(_) => {
                let seconds = PULL_IDLE_DEADLINE.as_secs();
                return Err(unfetched(reference, format!("no data came from {registry} for {seconds} s")));
            }
        }
    }
}

/// The progress of each layer: bytes done and bytes in all.
#[derive(Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    fn after(&mut self, doing: &str, info: CreateImageInfo) -> Progress {
        if let (Some(layer), Some(detail)) = (info.id, info.progress_detail)
            && info.status.as_deref() == Some("Downloading")
        {
            let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            self.0.insert(layer, (bytes(detail.current), bytes(detail.total)));
        }
        let (done_bytes, total_bytes) =
            self.0.values().fold((0, 0), |(done, total), layer| (done + layer.0, total + layer.1));
        Progress { step: doing.to_owned(), done_bytes, total_bytes }
    }
}

fn unfetched(reference: &str, why: impl Into<String>) -> RuntimeError {
    RuntimeError::Artifact { what: format!("the image {reference}"), why: why.into() }
}

/// The error for a failed pull, with a remedy. The Engine has no error codes for pulls, only messages.
fn explain(problem: Problem, reference: &str, registry: &str) -> RuntimeError {
    let message = problem.message();
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["no space left on device"]) {
        return problem.into_error();
    }
    if says(&["unauthorized", "no basic auth", "denied", "authentication required"]) {
        return unfetched(
            reference,
            format!(
                "{registry} denies this host the image, or the image does not exist; run `docker login {registry}` \
                 as the user that runs the server ({message})"
            ),
        );
    }
    if says(&["manifest unknown", "not found", "does not exist"]) {
        return unfetched(reference, format!("{registry} has no such image or tag; push it first ({message})"));
    }
    if says(&[
        "connection refused",
        "no such host",
        "timeout",
        "i/o",
        "unreachable",
        "eof",
        "server misbehaving",
        "lookup",
    ]) {
        return unfetched(
            reference,
            format!("it is not on this host, and the registry {registry} does not answer ({message})"),
        );
    }
    match problem {
        Problem::Engine { .. } if problem.status().is_some() => unfetched(reference, message),
        other => match other.into_error() {
            RuntimeError::Failed { why, .. } => unfetched(reference, why),
            error => error,
        },
    }
}

/// The registry in a reference, by Docker's rule: the part before the first slash, if it looks like a host.
fn registry_of(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => "docker.io".to_owned(),
    }
}

/// Splits a reference into name, and tag or digest. The default is a tag, since without any the Engine pulls every tag.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_as_docker_does() {
        for (reference, registry, parts) in [
            ("shop", "docker.io", ("shop", "latest")),
            ("shop:42", "docker.io", ("shop", "42")),
            ("team/shop:42", "docker.io", ("team/shop", "42")),
            ("localhost/shop", "localhost", ("localhost/shop", "latest")),
            ("127.0.0.1:5000/shop", "127.0.0.1:5000", ("127.0.0.1:5000/shop", "latest")),
            ("r.example.com:5000/a/b:1", "r.example.com:5000", ("r.example.com:5000/a/b", "1")),
            ("shop@sha256:abc", "docker.io", ("shop", "sha256:abc")),
            ("shop:1@sha256:abc", "docker.io", ("shop:1", "sha256:abc")),
        ] {
            assert_eq!((registry_of(reference).as_str(), split(reference)), (registry, parts), "{reference}");
        }
    }
}

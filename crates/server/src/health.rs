//! Health checks: a GET straight to the instance, and the error message of a failed check.

use futures_util::future::BoxFuture;
use gapless_core::Millis;
use gapless_core::spec::HealthCheck;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Checks an instance once. A function and not a trait, so that the simulator can pass its own.
pub type Prober =
    Arc<dyn Fn(SocketAddr, Arc<HealthCheck>) -> BoxFuture<'static, Result<(), ProbeFailure>> + Send + Sync>;

/// A failed health check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// The kind of the failure.
    pub kind: ProbeFailureKind,
    /// The observation, and the remedy where it is known.
    pub message: String,
}

/// The conclusion about the instance from a failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFailureKind {
    /// Nothing listened on the port, so the message should say on which ports the instance listens.
    Refused,
    /// The instance did not answer as expected.
    Unhealthy,
    /// Nothing about the instance: this host lacks something that the check needs, such as open files or local ports.
    NotSent,
}

/// The prober of real instances.
#[must_use]
pub fn http_prober() -> Prober {
    Arc::new(|address, check| Box::pin(async move { probe(address, &check).await }))
}

/// Gets the check's path once.
///
/// # Errors
/// If the answer did not have one of the expected statuses.
pub async fn probe(address: SocketAddr, check: &HealthCheck) -> Result<(), ProbeFailure> {
    let address = SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()));
    // Without a path, an instance is healthy while it runs, and the runtime reports that.
    let Some(path) = check.path.as_deref() else { return Ok(()) };
    let answer = get(address, path, check).await?;
    if check.statuses.contains(&answer.status) {
        return Ok(());
    }
    let hint = hint(&answer, path, address, check).await;
    Err(failure(format!("GET {path} on port {} answered {}{hint}", address.port(), answer.status)))
}

struct Answer {
    status: u16,
    location: Option<String>,
}

async fn get(address: SocketAddr, path: &str, check: &HealthCheck) -> Result<Answer, ProbeFailure> {
    let limit = check.timeout;
    let answer = tokio::time::timeout(limit.to_duration(), get_without_deadline(address, path, check.host.as_deref()));
    answer.await.unwrap_or_else(|_| {
        Err(failure(format!("GET {path} on port {} was not answered within {limit} (health.timeout)", address.port())))
    })
}

async fn get_without_deadline(address: SocketAddr, path: &str, host: Option<&str>) -> Result<Answer, ProbeFailure> {
    let port = address.port();
    let stream = TcpStream::connect(address).await.map_err(|error| not_connected(address, &error))?;
    let broke = |error: hyper::Error| {
        failure(format!("GET {path} on port {port} got no answer that is HTTP ({error}); does it expect TLS?"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let uri: Uri = path.parse().map_err(|_| failure(format!("health.path {path:?} is not a path")))?;
    let request = Request::get(uri)
        .header(header::HOST, host.map_or_else(|| address.to_string(), str::to_owned))
        .header(header::USER_AGENT, "gapless")
        .header(header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| failure(format!("the health check is not a request: {error}")))?;
    // The connection is dropped with this future, so a body without an end costs nothing.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(broke)?;
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Answer { status: answer.status().as_u16(), location })
}

fn not_connected(address: SocketAddr, error: &io::Error) -> ProbeFailure {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => ProbeFailure {
            kind: ProbeFailureKind::Refused,
            message: format!("connection refused on port {}", address.port()),
        },
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL) => ProbeFailure {
            kind: ProbeFailureKind::NotSent,
            message: format!("{address} was not checked: this host lacks a resource for it: {error}"),
        },
        _ => failure(format!("cannot connect to {address}: {error}")),
    }
}

/// The remedy, where the answer shows a well-known mistake.
async fn hint(answer: &Answer, path: &str, address: SocketAddr, check: &HealthCheck) -> String {
    match answer {
        Answer { status: 301 | 302 | 307 | 308, location: Some(to) } if to.starts_with("https:") => {
            format!(" to {to}: the application insists on TLS; exempt the path, or let it trust X-Forwarded-Proto")
        }
        Answer { status: 300..=399, location: Some(to) } => {
            format!(" to {to}: redirects are not followed; set health.path to a path that answers without a redirect")
        }
        Answer { status: 400 | 403 | 421, .. } if check.host.is_none() => {
            ": the application may not know the host name; set health.host to a name that it serves".to_owned()
        }
        Answer { status: 404, .. } if path != "/" => match get(address, "/", check).await {
            Ok(root) if check.statuses.contains(&root.status) => {
                format!(", but GET / answers {}: set health.path = \"/\"", root.status)
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn failure(message: String) -> ProbeFailure {
    ProbeFailure { kind: ProbeFailureKind::Unhealthy, message }
}

/// The wait before the next eager check: 2 ms at first, then half as long again each time, up to the check's interval.
#[must_use]
pub fn next_eager(last: Millis, check: &HealthCheck) -> Millis {
    Millis((last.0 + last.0.div_ceil(2)).clamp(2, check.interval.0.max(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_host_resources_is_no_failure_of_the_instance() {
        let kinds = [
            (Errno::CONNREFUSED, ProbeFailureKind::Refused),
            (Errno::HOSTUNREACH, ProbeFailureKind::Unhealthy),
            (Errno::MFILE, ProbeFailureKind::NotSent),
            (Errno::ADDRNOTAVAIL, ProbeFailureKind::NotSent),
        ];
        for (error, kind) in kinds {
            assert_eq!(not_connected(([127, 0, 0, 1], 80).into(), &error.into()).kind, kind, "{error}");
        }
    }
}

//! The client of a data plane's control socket: what the control plane speaks to its data planes with.

use super::{Acknowledgement, Changes, ProxyStatus, Refusal};
use bytes::Bytes;
use gapless_core::routes::{RouteChange, RouteTable};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// How long an answer other than to [`Client::changes`] may take. A table is written to disk before it is
/// acknowledged, and disks stall.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a call is made where another data plane answers by now: over the kept connection, to the one that was at the
/// place a moment ago, and to the one that has taken it.
const ATTEMPTS: u32 = 3;

/// Bytes of an answer: counts of some thousand placements fit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a data plane did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens at the socket, or it broke: the data plane is away.
    #[error("the data plane at {} does not answer: {source}", socket.display())]
    Away {
        /// The control socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("the data plane at {} did not answer within {} s", socket.display(), waited.as_secs_f32())]
    Timeout {
        /// The control socket.
        socket: PathBuf,
        /// How long it had.
        waited: Duration,
    },
    /// The change does not begin at the version that the data plane has, or the table is older than its own.
    #[error("the data plane has table version {version}: {reason}")]
    Conflict {
        /// The version that it has.
        version: u64,
        /// What it said.
        reason: String,
    },
    /// It refused otherwise.
    #[error("the data plane refused with status {status}: {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// It answered something that is no answer of a data plane of this version.
    #[error("the data plane sent an invalid answer: {0}")]
    Protocol(String),
}

/// Speaks to one data plane. Keeps its connection and makes a new one when that broke; every call has a deadline.
/// Calls other than [`Client::changes`] follow one another.
pub struct Client {
    socket: PathBuf,
    calls: Mutex<Option<SendRequest<Full<Bytes>>>>,
    news: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client of the data plane whose control socket is `socket`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into(), calls: Mutex::new(None), news: Mutex::new(None) }
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Replaces the whole table. Giving the present version again is no error.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] where the data plane has a newer one.
    pub async fn put_table(&self, table: &RouteTable) -> Result<Acknowledgement, ControlError> {
        self.call(Method::PUT, "/v1/table", encode(table)?).await
    }

    /// Changes some groups of the table.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] where the data plane has another version than the change's base: it needs the whole
    /// table.
    pub async fn patch_table(&self, change: &RouteChange) -> Result<Acknowledgement, ControlError> {
        self.call(Method::PATCH, "/v1/table", encode(change)?).await
    }

    /// What the data plane is and does.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn status(&self) -> Result<ProxyStatus, ControlError> {
        self.call(Method::GET, "/v1/status", Bytes::new()).await
    }

    /// Waits up to `timeout` for the sequence of changes to be another than `seen`. With `seen` 0 it returns at once.
    ///
    /// # Errors
    /// Where the data plane does not answer.
    pub async fn changes(&self, seen: u64, timeout: Duration) -> Result<Changes, ControlError> {
        let path = format!("/v1/changes?seen={seen}&timeout_ms={}", timeout.as_millis());
        self.exchange(&self.news, Method::GET, &path, Bytes::new(), timeout + ANSWER_TIMEOUT).await
    }

    /// Tells the data plane that another one takes its place: it stops, and answers with the table that it goes by.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn yield_now(&self) -> Result<RouteTable, ControlError> {
        self.call(Method::POST, "/v1/yield", Bytes::new()).await
    }

    /// What a data plane that has yielded does itself.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(crate) async fn yielded_status(&self) -> Result<ProxyStatus, ControlError> {
        self.call(Method::GET, "/v1/yielded/status", Bytes::new()).await
    }

    /// Replaces the table of a data plane that has yielded; its successor tells it.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(crate) async fn put_yielded(&self, table: Vec<u8>) -> Result<Acknowledgement, ControlError> {
        self.call(Method::PUT, "/v1/yielded/table", table.into()).await
    }

    /// Tells the data plane to stop: it accepts no more connections, finishes what it has and ends.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn stop(&self) -> Result<(), ControlError> {
        let _: serde_json::Value = self.call(Method::POST, "/v1/stop", Bytes::new()).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ControlError> {
        self.exchange(&self.calls, method, path, body, ANSWER_TIMEOUT).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        connection: &Mutex<Option<SendRequest<Full<Bytes>>>>,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, ControlError> {
        let timeout = || ControlError::Timeout { socket: self.socket.clone(), waited: deadline };
        let answer = tokio::time::timeout(deadline, async {
            let mut kept = connection.lock().await;
            // A kept connection may have died with the process behind it, and a new one may lead to a data plane whose place
            // is taken right then: that is found out by using it, and every call may be repeated without harm.
            let mut attempts_left = ATTEMPTS;
            loop {
                attempts_left -= 1;
                let attempted = self.attempt(kept.take(), &method, path, &body).await;
                let is_elsewhere = match &attempted {
                    Ok((_, status, _)) => *status == StatusCode::MISDIRECTED_REQUEST,
                    Err(error) => matches!(error, ControlError::Away { .. }),
                };
                if !is_elsewhere || attempts_left == 0 {
                    let (sender, status, bytes) = attempted?;
                    *kept = Some(sender);
                    return Ok((status, bytes));
                }
            }
        });
        let (status, bytes) = answer.await.map_err(|_| timeout())??;
        decode(status, &bytes)
    }

    /// Makes a call over that connection, or over a new one.
    async fn attempt(
        &self,
        kept: Option<SendRequest<Full<Bytes>>>,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(SendRequest<Full<Bytes>>, StatusCode, Bytes), ControlError> {
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await.map_err(|error| self.away(io::Error::other(error)))?;
        let (status, bytes) = self.send(&mut sender, method, path, body).await?;
        Ok((sender, status, bytes))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ControlError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.away(source))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.away(io::Error::other(error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the control connection ended");
            }
        });
        Ok(sender)
    }

    async fn send(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "gapless")
            .body(Full::new(body.clone()))
            .map_err(|error| ControlError::Protocol(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| self.away(io::Error::other(error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| self.away(io::Error::other(error)))?.to_bytes()))
    }

    fn away(&self, source: io::Error) -> ControlError {
        ControlError::Away { socket: self.socket.clone(), source }
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes, ControlError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ControlError::Protocol(error.to_string()))
}

fn decode<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, ControlError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| ControlError::Protocol(error.to_string()));
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { error, version }) if status == StatusCode::CONFLICT => {
            Err(ControlError::Conflict { version, reason: error })
        }
        Ok(Refusal { error, .. }) => Err(ControlError::Refused { status: status.as_u16(), reason: error }),
        Err(_) => Err(ControlError::Protocol(format!("status {status} without a reason"))),
    }
}

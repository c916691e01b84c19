//! The client: JSON over HTTP/1.1 on the server's Unix socket.

use crate::error::{ApiError, ClientError, Code};
use crate::follow::Follow;
use crate::types::{
    ApplicationView, Check, DeployRequest, FollowEvent, KvChanged, KvPair, KvPairs, LogRecord, MaintenanceRequest,
    PlanRequest, PlanView, PromoteRequest, RejectRequest, RollbackRequest, ServerInfo, SteerRequest,
};
use bytes::Bytes;
use gapless_core::command::Steer;
use gapless_core::{AppKey, Deployment, EnvName, Release, ServiceName, Slot, Spec};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// The deadline of a call, unless the answer is a stream.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The deadline of a call that the server answers after a change, or after a minute without one.
const WATCH_DEADLINE: Duration = Duration::from_secs(75);

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// The socket of this user's server: `$GAPLESS_SOCKET`, else `/run/gapless/gapless.sock` for root, else
/// `$XDG_RUNTIME_DIR/gapless/gapless.sock`.
#[must_use]
pub fn default_socket(is_root: bool, variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    if let Some(socket) = variable("GAPLESS_SOCKET") {
        return socket.into();
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(dir) if !is_root => Path::new(&dir).join("gapless/gapless.sock"),
        _ => "/run/gapless/gapless.sock".into(),
    }
}

impl Client {
    /// Creates a client of the server at `socket`. Does not connect.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into() }
    }

    /// The server's version, process and data planes.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls of the client.
    pub async fn server(&self) -> Result<ServerInfo, ClientError> {
        self.get("/v1/server").await
    }

    /// The checks of `gapless doctor`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn doctor(&self) -> Result<Vec<Check>, ClientError> {
        self.get("/v1/doctor").await
    }

    /// All applications.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn applications(&self) -> Result<Vec<ApplicationView>, ClientError> {
        self.get("/v1/applications").await
    }

    /// One application.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn application(&self, key: &AppKey) -> Result<ApplicationView, ClientError> {
        self.get(&at(key, "")).await
    }

    /// The changes and steps of a deployment of `spec`, without deploying it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plan(&self, spec: Spec) -> Result<PlanView, ClientError> {
        let key = AppKey::new(spec.app.clone(), spec.env.clone());
        self.post(&at(&key, "/plan"), &PlanRequest { spec }).await
    }

    /// Starts or queues a deployment, which continues even if nobody follows it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deploy(&self, spec: Spec, then: Vec<Spec>, force: bool) -> Result<Deployment, ClientError> {
        let key = AppKey::new(spec.app.clone(), spec.env.clone());
        self.post(&at(&key, "/deployments"), &DeployRequest { spec, then, force }).await
    }

    /// Deploys what has succeeded in the environment `from`, with the configuration `spec`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn promote(&self, from: EnvName, spec: Spec, then: Vec<Spec>) -> Result<Deployment, ClientError> {
        let key = AppKey::new(spec.app.clone(), spec.env.clone());
        self.post(&at(&key, "/promotions"), &PromoteRequest { from, spec, then }).await
    }

    /// Approves a deployment that waits for an approval.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve(&self, key: &AppKey, number: u64) -> Result<Deployment, ClientError> {
        self.post(&at(key, &format!("/deployments/{number}/approve")), &()).await
    }

    /// Rejects a deployment that waits for an approval.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reject(&self, key: &AppKey, number: u64, reason: String) -> Result<Deployment, ClientError> {
        self.post(&at(key, &format!("/deployments/{number}/reject")), &RejectRequest { reason }).await
    }

    /// Steers the current canary.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn steer(&self, key: &AppKey, steer: Steer) -> Result<Deployment, ClientError> {
        self.post(&at(key, "/canary"), &SteerRequest { steer }).await
    }

    /// Starts or queues a rollback to `release`, or to the release that was live before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rollback(&self, key: &AppKey, release: Option<u64>, force: bool) -> Result<Deployment, ClientError> {
        self.post(&at(key, "/rollback"), &RollbackRequest { release, force }).await
    }

    /// Aborts the current deployment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn abort(&self, key: &AppKey) -> Result<Deployment, ClientError> {
        self.post(&at(key, "/abort"), &()).await
    }

    /// Stops the application's instances.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stop(&self, key: &AppKey) -> Result<ApplicationView, ClientError> {
        self.post(&at(key, "/stop"), &()).await
    }

    /// Starts a stopped application.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start(&self, key: &AppKey) -> Result<ApplicationView, ClientError> {
        self.post(&at(key, "/start"), &()).await
    }

    /// Turns maintenance mode on: a page answers the application's requests.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_maintenance(&self, key: &AppKey, page: Option<String>) -> Result<ApplicationView, ClientError> {
        let body = serde_json::to_vec(&MaintenanceRequest { page }).unwrap_or_default();
        parse(&accept(self.send(Method::PUT, &at(key, "/maintenance"), Some(body)).await?).await?)
    }

    /// Turns maintenance mode off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_maintenance(&self, key: &AppKey) -> Result<ApplicationView, ClientError> {
        parse(&accept(self.send(Method::DELETE, &at(key, "/maintenance"), None).await?).await?)
    }

    /// Removes the application.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove(&self, key: &AppKey) -> Result<(), ClientError> {
        let answer = self.send(Method::DELETE, &at(key, ""), None).await?;
        accept(answer).await.map(drop)
    }

    /// The newest deployments below `before`, at most `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deployments(
        &self,
        key: &AppKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Deployment>, ClientError> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        self.get(&at(key, &format!("/deployments?limit={limit}{before}"))).await
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deployment(&self, key: &AppKey, number: u64) -> Result<Deployment, ClientError> {
        self.get(&at(key, &format!("/deployments/{number}"))).await
    }

    /// One release.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release(&self, key: &AppKey, number: u64) -> Result<Release, ClientError> {
        self.get(&at(key, &format!("/releases/{number}"))).await
    }

    /// Follows a deployment to its end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow(&self, key: &AppKey, number: u64) -> Result<Follow<FollowEvent>, ClientError> {
        self.stream(&at(key, &format!("/deployments/{number}/events"))).await
    }

    /// The output of the application's instances: the last `tail` lines of each and, with `follow`, all later lines.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(
        &self,
        key: &AppKey,
        slot: Option<Slot>,
        service: Option<&ServiceName>,
        tail: usize,
        follow: bool,
    ) -> Result<Follow<LogRecord>, ClientError> {
        let slot = slot.map(|slot| format!("&slot={slot}")).unwrap_or_default();
        let service = service.map(|service| format!("&service={service}")).unwrap_or_default();
        self.stream(&at(key, &format!("/logs?tail={tail}&follow={follow}{slot}{service}"))).await
    }

    /// The user's keys and the published facts below `prefix`, with their values.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn kv(&self, prefix: &str) -> Result<KvPairs, ClientError> {
        self.get(&format!("/v1/kv?prefix={}", escaped(prefix))).await
    }

    /// The same, as soon as a key below `prefix` is newer than revision `after`, or after a minute.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn kv_watch(&self, prefix: &str, after: u64) -> Result<KvPairs, ClientError> {
        let path = format!("/v1/kv/watch?prefix={}&after={after}", escaped(prefix));
        parse(&accept(self.send_within(WATCH_DEADLINE, Method::GET, &path, None).await?).await?)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn kv_put(&self, key: String, value: String) -> Result<KvChanged, ClientError> {
        let body = serde_json::to_vec(&KvPair { key, value }).unwrap_or_default();
        parse(&accept(self.send(Method::PUT, "/v1/kv", Some(body)).await?).await?)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn kv_delete(&self, key: &str) -> Result<KvChanged, ClientError> {
        let path = format!("/v1/kv?key={}", escaped(key));
        parse(&accept(self.send(Method::DELETE, &path, None).await?).await?)
    }

    /// Passes all records to `take`, piece by piece: the lines of an export. `kv` are prefixes of user keys that are
    /// exported too, where these keys are in a store that other programs share.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Broken`] with the error of `take`.
    pub async fn export(
        &self,
        kv: &[String],
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let kv = kv.iter().map(|prefix| escaped(prefix)).collect::<Vec<_>>().join(",");
        let answer = self.send(Method::GET, &format!("/v1/store/export?kv={kv}"), None).await?;
        if !answer.status().is_success() {
            return accept(answer).await.map(drop);
        }
        let mut body = answer.into_body();
        let broken = |error: String| ClientError::Broken(error);
        loop {
            match tokio::time::timeout(ANSWER_DEADLINE, body.frame()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        take(data).map_err(|error| broken(error.to_string()))?;
                    }
                }
                Ok(Some(Err(error))) => return Err(broken(error.to_string())),
                Err(_) => return Err(broken(format!("no data within {} s", ANSWER_DEADLINE.as_secs()))),
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&accept(self.send(Method::GET, path, None).await?).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        parse(&accept(self.send(Method::POST, path, Some(body)).await?).await?)
    }

    async fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<Follow<T>, ClientError> {
        let answer = self.send(Method::GET, path, None).await?;
        if answer.status().is_success() {
            return Ok(Follow::new(answer.into_body()));
        }
        Err(accept(answer).await.err().unwrap_or_else(|| ClientError::Broken("an error without a body".to_owned())))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response<Incoming>, ClientError> {
        self.send_within(ANSWER_DEADLINE, method, path, body).await
    }

    async fn send_within(
        &self,
        deadline: Duration,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let broken = |error: String| ClientError::Broken(error);
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                ClientError::NotPermitted { socket: self.socket.display().to_string() }
            }
            _ => ClientError::NoServer { socket: self.socket.display().to_string() },
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(error.to_string()))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gapless")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| broken(error.to_string()))?;
        match tokio::time::timeout(deadline, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(|error| broken(error.to_string())),
            Err(_) => Err(broken(format!("no answer within {} s", deadline.as_secs()))),
        }
    }
}

/// Escapes a text for a query.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn at(key: &AppKey, rest: &str) -> String {
    format!("/v1/applications/{}/{}{rest}", key.app, key.env)
}

async fn accept(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let error = serde_json::from_slice::<ApiError>(&body).unwrap_or_else(|_| ApiError {
        code: if status.is_client_error() { Code::BadRequest } else { Code::Unavailable },
        message: format!("the server answered {status}: {}", String::from_utf8_lossy(&body)),
    });
    Err(ClientError::Api(error))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Broken(error.to_string()))
}

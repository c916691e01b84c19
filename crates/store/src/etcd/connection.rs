//! The connection to etcd: every call has a deadline; a call is retried where that is safe and another member may
//! answer.

use super::error::EtcdError;
use crate::EtcdConfig;
use crate::StoreError;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// etcd disconnects clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// A member that does not answer a ping within this time counts as dead; the client switches to another member.
const PING_DEADLINE: Duration = Duration::from_secs(3);
/// How long a member may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// How long to wait for a member before another member is asked in parallel.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(500);
/// The pause before another member is asked after an error.
const RETRY_AFTER: Duration = Duration::from_millis(30);
/// The largest answer (a page of a range or of a watch), in bytes. etcd limits a request to 1.5 MiB, but a page of a
/// range only by its number of entries.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A client with its deadline.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) place: String,
    deadline: Duration,
    members: u32,
}

impl Connection {
    /// Connects and checks that etcd answers this user.
    pub(super) async fn open(config: &EtcdConfig) -> Result<Connection, StoreError> {
        let place = config.place();
        let unusable = |why: &str| StoreError::Open { place: place.clone(), why: why.to_owned() };
        if config.endpoints.is_empty() {
            return Err(unusable("no endpoint is set; set `endpoints`"));
        }
        let is_secure = |endpoint: &String| endpoint.starts_with("https://");
        if config.endpoints.iter().any(|endpoint| !is_secure(endpoint) && !endpoint.starts_with("http://")) {
            return Err(unusable("an endpoint must begin with http:// or https://; see `endpoints`"));
        }
        if config.endpoints.iter().all(is_secure) != config.tls.is_some() {
            return Err(unusable("https:// needs `ca`, and `ca` needs https:// for every endpoint"));
        }
        let connecting = Client::connect(&config.endpoints, Some(options(config)));
        let client = match timeout(config.deadline, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(EtcdError::from(error).while_opening(&place, config.tls.is_some())),
            Err(_) => return Err(EtcdError::Deadline(config.deadline).while_opening(&place, config.tls.is_some())),
        };
        let members = u32::try_from(config.endpoints.len()).unwrap_or(u32::MAX);
        Ok(Connection { client, place: place.clone(), deadline: config.deadline, members })
    }

    /// An idempotent call, retried until the deadline while another member may answer it. Does not wait for a silent
    /// member but asks another in parallel: a client notices only after seconds that a silent member is gone.
    pub(super) async fn call_idempotent<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        let mut attempts = 2 * self.members;
        let patience = if self.members > 1 { ASK_ANOTHER_AFTER } else { self.deadline };
        let mut asked = FuturesUnordered::new();
        loop {
            if attempts > 0 {
                attempts -= 1;
                asked.push(call(self.client.clone()));
            }
            let left = self.deadline.saturating_sub(begun.elapsed());
            match timeout(left.min(patience), asked.next()).await {
                Ok(Some(Ok(answer))) => return Ok(answer),
                Ok(Some(Err(error))) => {
                    let error = EtcdError::from(error);
                    let was_last = attempts == 0 && asked.is_empty();
                    if !error.is_transient() || was_last || begun.elapsed() + RETRY_AFTER >= self.deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Ok(None) | Err(_) if begun.elapsed() >= self.deadline => {
                    return Err(EtcdError::Deadline(begun.elapsed()));
                }
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// A call that changes data: retried only if etcd cannot have received it.
    pub(super) async fn call_once<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        let mut attempts = 2 * self.members;
        loop {
            let left = self.deadline.saturating_sub(begun.elapsed());
            let error = match timeout(left, call(self.client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => EtcdError::from(error),
                Err(_) => return Err(EtcdError::Deadline(self.deadline)),
            };
            attempts = attempts.saturating_sub(1);
            if !error.was_not_sent() || attempts == 0 || begun.elapsed() + RETRY_AFTER >= self.deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

fn options(config: &EtcdConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(CONNECT_DEADLINE)
        .with_keep_alive(PING_EVERY, PING_DEADLINE)
        .with_keep_alive_while_idle(true)
        .with_auto_token_refresh(true)
        // A member without a leader then reports that at once and ends its watches, instead of letting them wait.
        .with_require_leader(true);
    if let Some((user, password)) = &config.user {
        options = options.with_user(user, password);
    }
    if let Some(tls) = &config.tls {
        let mut with = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((certificate, key)) = &tls.identity {
            with = with.identity(Identity::from_pem(certificate, key));
        }
        options = options.with_tls(with);
    }
    options
}

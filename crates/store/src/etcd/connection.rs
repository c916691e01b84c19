//! The connection to etcd: each call has a deadline, and is made again where that is safe and another member may answer.

use super::config::EtcdConfig;
use super::trouble::Trouble;
use crate::StoreError;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// etcd cuts off clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// A member that does not answer a ping for so long is taken for dead, and another one asked.
const PING_DEADLINE: Duration = Duration::from_secs(3);
/// How long a member has to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// How soon another member is asked.
const RETRY_AFTER: Duration = Duration::from_millis(30);
/// A page of a range, or of a watch, in bytes: etcd's own limit of a request is 1.5 MiB, a page of a range has no limit
/// but its entries.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A client, and how patient it is.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) place: String,
    deadline: Duration,
    members: u32,
}

impl Connection {
    /// Connects, and sees that etcd answers this user.
    pub(super) async fn open(config: &EtcdConfig) -> Result<Connection, StoreError> {
        let place = config.place();
        let unusable = |why: &str| StoreError::Open { place: place.clone(), why: why.to_owned() };
        if config.endpoints.is_empty() {
            return Err(unusable("no endpoint is named; set `endpoints`"));
        }
        let is_secure = |endpoint: &String| endpoint.starts_with("https://");
        if config.endpoints.iter().any(|endpoint| !is_secure(endpoint) && !endpoint.starts_with("http://")) {
            return Err(unusable("an endpoint begins with http:// or https://; see `endpoints`"));
        }
        if config.endpoints.iter().all(is_secure) != config.tls.is_some() {
            return Err(unusable("https:// needs `ca`, and `ca` needs https:// for every endpoint"));
        }
        let connecting = Client::connect(&config.endpoints, Some(options(config)));
        let client = match timeout(config.deadline, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(Trouble::from(error).while_opening(&place, config.tls.is_some())),
            Err(_) => return Err(Trouble::Deadline(config.deadline).while_opening(&place, config.tls.is_some())),
        };
        let members = u32::try_from(config.endpoints.len()).unwrap_or(u32::MAX);
        Ok(Connection { client, place: place.clone(), deadline: config.deadline, members })
    }

    /// A call that can be repeated: made again until the deadline, if another member may answer it.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        let mut attempts = 2 * self.members;
        // So that one member that hangs does not use up the time for all.
        let patience = if self.members > 1 { self.deadline / 3 } else { self.deadline };
        loop {
            let left = self.deadline.saturating_sub(begun.elapsed()).min(patience);
            let trouble = match timeout(left, call(self.client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Trouble::from(error),
                Err(_) => Trouble::Deadline(begun.elapsed()),
            };
            attempts = attempts.saturating_sub(1);
            if !trouble.may_pass() || attempts == 0 || begun.elapsed() + RETRY_AFTER >= self.deadline {
                return Err(trouble);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// A call that changes something: made again only if etcd cannot have seen it.
    pub(super) async fn tell<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        let mut attempts = 2 * self.members;
        loop {
            let left = self.deadline.saturating_sub(begun.elapsed());
            let trouble = match timeout(left, call(self.client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Trouble::from(error),
                Err(_) => return Err(Trouble::Deadline(self.deadline)),
            };
            attempts = attempts.saturating_sub(1);
            if !trouble.was_not_sent() || attempts == 0 || begun.elapsed() + RETRY_AFTER >= self.deadline {
                return Err(trouble);
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
        // A member without a leader says so at once, and ends its watches, instead of letting them wait.
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

//! The connection to etcd: each call has a deadline, and is made again where that is safe and another member may answer.

use super::config::EtcdConfig;
use super::trouble::Trouble;
use crate::StoreError;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// etcd cuts off clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// A member that does not answer a ping for so long is taken for dead, and another one asked.
const PING_DEADLINE: Duration = Duration::from_secs(3);
/// How long a member has to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// How soon another member is asked beside one that does not answer.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(500);
/// How soon another member is asked after one that cannot answer.
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

    /// A call that can be made several times, also at once: made again until the deadline, as long as another member may
    /// answer it. One that does not answer is not waited for: a client learns only after seconds that a member is gone
    /// that says nothing any more.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Trouble>
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
                    let trouble = Trouble::from(error);
                    let was_last = attempts == 0 && asked.is_empty();
                    if !trouble.may_pass() || was_last || begun.elapsed() + RETRY_AFTER >= self.deadline {
                        return Err(trouble);
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Ok(None) | Err(_) if begun.elapsed() >= self.deadline => {
                    return Err(Trouble::Deadline(begun.elapsed()));
                }
                Ok(None) | Err(_) => {}
            }
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

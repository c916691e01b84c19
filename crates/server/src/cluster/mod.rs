//! Several servers on one etcd: one leads, the others follow: they answer reads, forward all other requests, and take
//! over when the leader is gone.
//!
//! The leader owns a key with a lease. The key is a hint, not mutual exclusion: a server that was paused may believe
//! that it still leads. Therefore each of its transactions checks that the key is still its own (the fence, in
//! `gapless_store`), and it reads nothing, and so acts on nothing, once its own clock says that the lease may have
//! expired.
//!
//! A server that lost the lead restarts in a new process image, so that nothing that was in progress continues.

mod follower;
mod member;
mod peers;

use crate::config::{Paths, ServerConfig};
use crate::control_plane::{Components, ControlPlane};
use crate::error::{Ended, ServerError};
use crate::http::{About, ApiGate, Role, serve_until};
use crate::records::RecordError;
use futures_util::StreamExt;
use gapless_plane::DataPlane;
use gapless_plane::builtin::{Builtin, Supervisor};
use gapless_store::{EtcdConfig, EtcdStore, LeasedKey, Session, Store, StoreError};
use member::{LEASE_TTL, Member};
use peers::{Incoming, Outgoing};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The key that the leader owns.
const LEADER_KEY: &str = "/gapless/leader";
/// The wait before a failed call is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often the leader key is read, in addition to the watch.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How often the log repeats that etcd is unavailable.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Runs a server on etcd until `stop` completes, or the server loses the lead.
///
/// # Errors
/// If the server cannot start: etcd rejects it permanently, another server has its name, or a prerequisite is missing.
pub(crate) async fn run(
    config: &ServerConfig,
    paths: &Paths,
    etcd: &EtcdConfig,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, ServerError> {
    let _lock = member::lock(&paths.state_dir)?;
    let server = Server {
        config,
        paths,
        this: Member::this(config, paths)?,
        gate: ApiGate::closed("the server is starting"),
        outgoing: config.peers.as_ref().map(Outgoing::new).transpose()?,
    };
    let mut tasks = JoinSet::new();
    if let Some(peers) = &config.peers {
        tasks.spawn(Incoming::bind(peers).await?.serve(server.gate.clone()));
    }
    let listener = config.socket.open().await?;
    serve_until(server.run(etcd, ready, pin!(stop)), listener, &server.gate).await
}

struct Server<'a> {
    config: &'a ServerConfig,
    paths: &'a Paths,
    this: Member,
    gate: ApiGate,
    outgoing: Option<Outgoing>,
}

impl Server<'_> {
    async fn run(
        &self,
        etcd: &EtcdConfig,
        ready: impl FnOnce(),
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<Ended, ServerError> {
        let (store, session, supervisor) = tokio::select! {
            connected = self.connect(etcd) => connected?,
            () = &mut stop => return Ok(Ended::Stopped),
        };
        let ended = tokio::select! {
            ended = Box::pin(self.campaign(&store, &session, supervisor, ready)) => ended,
            () = session.lost() => {
                tracing::warn!("server lost its lease: etcd did not answer in time; restarting");
                Ok(Ended::Restart)
            }
            () = &mut stop => {
                tracing::info!("server is stopping: requested; the proxy and all instances keep running");
                Ok(Ended::Stopped)
            }
        };
        self.gate.end();
        self.gate.close("this server is stopping");
        // Everything that could interfere with a successor has ended by now.
        session.end().await;
        ended
    }

    /// Waits until etcd answers. Meanwhile the host's proxy is kept running: it serves with its last routes.
    async fn connect(&self, etcd: &EtcdConfig) -> Result<(EtcdStore, Session, Option<Arc<Supervisor>>), ServerError> {
        let mut supervisor = None;
        let mut tasks = JoinSet::new();
        let mut logged_at: Option<tokio::time::Instant> = None;
        loop {
            let connected = async {
                let store = EtcdStore::open(etcd).await?;
                let session = Session::begin(&store, LEASE_TTL).await?;
                Ok((store, session))
            };
            let why = match connected.await {
                Ok((store, session)) => return Ok((store, session, supervisor)),
                Err(error @ StoreError::Unavailable { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_EVERY) {
                tracing::error!("server waits for the state: {why}; the proxy serves with its last routes");
                logged_at = Some(tokio::time::Instant::now());
            }
            self.gate.close(why);
            if supervisor.is_none() && self.config.nginx.is_none() && self.paths.host_dir.join("routes.json").exists() {
                let started = Supervisor::start(self.paths.proxy(self.config)).await?;
                tasks.spawn(started.clone().run());
                supervisor = Some(started);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Follows until this server gets the lead, then leads.
    async fn campaign(
        &self,
        store: &EtcdStore,
        session: &Session,
        supervisor: Option<Arc<Supervisor>>,
        ready: impl FnOnce(),
    ) -> Result<Ended, ServerError> {
        self.this.claim_name(store, session).await?;
        let mut ready = Some(ready);
        let mut followed: Option<Member> = None;
        loop {
            let entry = match session.acquire(LEADER_KEY, &self.this.encode()).await {
                Ok(Ok(leased)) => return self.lead(store, session, &leased, supervisor, ready).await,
                Ok(Err(entry)) => entry,
                Err(error) => {
                    tracing::warn!("cannot read the leader from etcd: {error}; retrying");
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            let leader = Member::decode(&entry.value);
            if leader.as_ref().is_some_and(|leader| leader.id == self.this.id) {
                if let Err(error) = member::release(store, LEADER_KEY, entry.mod_revision).await {
                    tracing::warn!(
                        "cannot take over the lead from the previous process of this server: {error}; retrying"
                    );
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                continue;
            }
            if let Some(leader) = leader.filter(|leader| followed.as_ref() != Some(leader))
                && let Some(router) = self.follower_router(store, &leader).await
            {
                tracing::info!(leader = leader.name, host = leader.host, "server follows: another server leads");
                self.gate.open(router);
                followed = Some(leader);
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            self.wait_for_change(store, entry.mod_revision).await;
        }
    }

    /// Waits until the leader may have changed, at most [`POLL_EVERY`].
    async fn wait_for_change(&self, store: &EtcdStore, since: u64) {
        let changed = async {
            match store.watch(LEADER_KEY, since + 1).await {
                Ok(mut changes) => drop(changes.next().await),
                Err(_) => tokio::time::sleep(POLL_EVERY).await,
            }
        };
        let _ = tokio::time::timeout(POLL_EVERY, changed).await;
    }

    /// The API of a follower of `leader`; `None` if the records cannot be read.
    async fn follower_router(&self, store: &EtcdStore, leader: &Member) -> Option<axum::Router> {
        let components = Components::new(self.config, self.paths, Arc::new(store.read_only()), "").await;
        let components = match components {
            Ok(components) => components,
            Err(error) => {
                self.gate.close(error.to_string());
                return None;
            }
        };
        let about = self.about(store, Some(leader.name.clone()));
        let plane: Arc<dyn DataPlane> = match &self.config.nginx {
            Some(nginx) => components.nginx(nginx),
            None => Arc::new(Builtin::new(Supervisor::idle(self.paths.proxy(self.config)))),
        };
        let local = components.api(self.paths, plane, about);
        Some(follower::router(local, leader.clone(), &self.this.host, self.outgoing.clone()))
    }

    fn about(&self, store: &EtcdStore, leader: Option<String>) -> About {
        About {
            name: self.config.name.clone(),
            store: store.place().to_owned(),
            is_shared: true,
            role: if leader.is_some() { Role::Follower } else { Role::Leader },
            leader,
        }
    }

    /// Leads until another server does.
    async fn lead(
        &self,
        store: &EtcdStore,
        session: &Session,
        leased: &LeasedKey,
        supervisor: Option<Arc<Supervisor>>,
        ready: Option<impl FnOnce()>,
    ) -> Result<Ended, ServerError> {
        let fenced = Arc::new(session.fenced(store, leased));
        let plane = loop {
            let about = self.about(store, None);
            let started = ControlPlane::start(self.config, self.paths, fenced.clone(), supervisor.clone(), about);
            match started.await {
                Ok(plane) => break plane,
                Err(
                    ServerError::Store(error @ StoreError::Unavailable { .. })
                    | ServerError::Records(RecordError::Store(error @ StoreError::Unavailable { .. })),
                ) => {
                    self.gate.close(error.to_string());
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(
                    ServerError::Store(StoreError::Deposed)
                    | ServerError::Records(RecordError::Store(StoreError::Deposed)),
                ) => return Ok(Ended::Restart),
                Err(error) => return Err(error),
            }
        };
        self.gate.open(plane.router.clone());
        tracing::info!(
            name = self.config.name,
            socket = %self.config.socket.path().display(),
            applications = plane.applications,
            "server leads"
        );
        if let Some(ready) = ready {
            ready();
        }
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let leads = match fenced.get(LEADER_KEY).await {
                Ok(entry) => entry.is_some_and(|entry| entry.create_revision == leased.create_revision),
                Err(StoreError::Deposed) => false,
                // Without an answer, only the lease decides.
                Err(_) => true,
            };
            if !leads {
                tracing::warn!("server lost the lead: another server leads; restarting");
                return Ok(Ended::Restart);
            }
        }
    }
}

//! Several servers on one etcd: one leads, the others answer reads and forward the rest, and take over when it is gone.
//!
//! Who leads is whoever holds a key by a lease. That is a hint and no exclusion: a server that was paused may believe
//! to lead still. So each of its transactions compares that the key is still the one that it holds (the fence, in
//! `gapless_store`), and it reads nothing, and so acts on nothing, once its own clock says that the lease may be gone.
//!
//! A server that does not lead any more ends its process image and begins anew: nothing that was under way goes on.

mod follower;
mod member;
mod peers;

use crate::config::{Paths, ServerConfig};
use crate::control_plane::{ControlPlane, Parts};
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

/// The key of whoever leads.
const LEADER_KEY: &str = "/gapless/leader";
/// How soon something is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often is looked who leads, whatever the watch says or does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is said that etcd is still away.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Runs a server on that etcd until `stop` is done, or it is deposed.
///
/// # Errors
/// If it cannot start: etcd refuses it for good, another server has its name, or what every server needs is missing.
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
        gate: ApiGate::closed("the server begins"),
        outgoing: config.peers.as_ref().map(Outgoing::new).transpose()?,
    };
    let mut tasks = JoinSet::new();
    if let Some(peers) = &config.peers {
        tasks.spawn(Incoming::bind(peers).await?.serve(server.gate.clone()));
    }
    let listener = config.socket.open().await?;
    serve_until(server.live(etcd, ready, pin!(stop)), listener, &server.gate).await
}

struct Server<'a> {
    config: &'a ServerConfig,
    paths: &'a Paths,
    this: Member,
    gate: ApiGate,
    outgoing: Option<Outgoing>,
}

impl Server<'_> {
    async fn live(
        &self,
        etcd: &EtcdConfig,
        ready: impl FnOnce(),
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<Ended, ServerError> {
        let (store, session, supervisor) = tokio::select! {
            begun = self.begin(etcd) => begun?,
            () = &mut stop => return Ok(Ended::Stopped),
        };
        let ended = tokio::select! {
            ended = Box::pin(self.take_part(&store, &session, supervisor, ready)) => ended,
            () = session.lost() => {
                tracing::warn!("etcd did not answer for so long that another server may lead; beginning anew");
                Ok(Ended::BeginsAnew)
            }
            () = &mut stop => {
                tracing::info!("ending; the proxy and all instances go on");
                Ok(Ended::Stopped)
            }
        };
        self.gate.end();
        self.gate.close("this server is ending");
        // By now nothing is done any more that a successor could meet.
        session.end().await;
        ended
    }

    /// Waits until etcd answers. The host's proxy is kept alive meanwhile: it serves on with what it knows.
    async fn begin(&self, etcd: &EtcdConfig) -> Result<(EtcdStore, Session, Option<Arc<Supervisor>>), ServerError> {
        let mut supervisor = None;
        let mut keeping = JoinSet::new();
        let mut said: Option<tokio::time::Instant> = None;
        loop {
            let begun = async {
                let store = EtcdStore::open(etcd).await?;
                let session = Session::start(&store, LEASE_TTL).await?;
                Ok((store, session))
            };
            let why = match begun.await {
                Ok((store, session)) => return Ok((store, session, supervisor)),
                Err(error @ StoreError::Unavailable { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                tracing::error!(error = why, "waiting for the state; the proxy serves on with what it knows");
                said = Some(tokio::time::Instant::now());
            }
            self.gate.close(why);
            if supervisor.is_none() && self.config.nginx.is_none() && self.paths.host_dir.join("routes.json").exists() {
                let begun = Supervisor::begin(self.paths.proxy(self.config)).await?;
                keeping.spawn(begun.clone().go_on());
                supervisor = Some(begun);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Follows until it can lead, then leads.
    async fn take_part(
        &self,
        store: &EtcdStore,
        session: &Session,
        supervisor: Option<Arc<Supervisor>>,
        ready: impl FnOnce(),
    ) -> Result<Ended, ServerError> {
        self.this.take_name(store, session).await?;
        let mut ready = Some(ready);
        let mut followed: Option<Member> = None;
        loop {
            let entry = match session.acquire(LEADER_KEY, &self.this.encode()).await {
                Ok(Ok(held)) => return self.lead(store, session, &held, supervisor, ready).await,
                Ok(Err(entry)) => entry,
                Err(error) => {
                    tracing::warn!(%error, "cannot see who leads");
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            let leader = Member::decode(&entry.value);
            if leader.as_ref().is_some_and(|leader| leader.id == self.this.id) {
                if let Err(error) = member::release(store, LEADER_KEY, entry.mod_revision).await {
                    tracing::warn!(%error, "cannot take over from the process that was here before");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                continue;
            }
            if let Some(leader) = leader.filter(|leader| followed.as_ref() != Some(leader))
                && let Some(router) = self.following(store, &leader).await
            {
                tracing::info!(leader = leader.name, host = leader.host, "following");
                self.gate.open(router);
                followed = Some(leader);
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            self.wait_for_change(store, entry.mod_revision).await;
        }
    }

    /// Waits until whoever leads may not lead any more.
    async fn wait_for_change(&self, store: &EtcdStore, since: u64) {
        let changed = async {
            match store.watch(LEADER_KEY, since + 1).await {
                Ok(mut changes) => drop(changes.next().await),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        let _ = tokio::time::timeout(LOOK_EVERY, changed).await;
    }

    /// The API of a follower of `leader`; `None` where the records cannot be read.
    async fn following(&self, store: &EtcdStore, leader: &Member) -> Option<axum::Router> {
        let parts = Parts::new(self.config, self.paths, Arc::new(store.read_only()), "").await;
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => {
                self.gate.close(error.to_string());
                return None;
            }
        };
        let about = self.about(store, Some(leader.name.clone()));
        let plane: Arc<dyn DataPlane> = match &self.config.nginx {
            Some(nginx) => parts.nginx(nginx),
            None => Arc::new(Builtin::new(Supervisor::idle(self.paths.proxy(self.config)))),
        };
        let local = parts.api(self.paths, plane, about);
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

    /// Leads until another one does.
    async fn lead(
        &self,
        store: &EtcdStore,
        session: &Session,
        held: &LeasedKey,
        supervisor: Option<Arc<Supervisor>>,
        ready: Option<impl FnOnce()>,
    ) -> Result<Ended, ServerError> {
        let fenced = Arc::new(session.fenced(store, held));
        let plane = loop {
            let about = self.about(store, None);
            let begun = ControlPlane::begin(self.config, self.paths, fenced.clone(), supervisor.clone(), about);
            match begun.await {
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
                ) => return Ok(Ended::BeginsAnew),
                Err(error) => return Err(error),
            }
        };
        self.gate.open(plane.router.clone());
        tracing::info!(
            name = self.config.name,
            socket = %self.config.socket.path().display(),
            applications = plane.applications,
            "leading"
        );
        if let Some(ready) = ready {
            ready();
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let leads = match fenced.get(LEADER_KEY).await {
                Ok(entry) => entry.is_some_and(|entry| entry.create_revision == held.create_revision),
                Err(StoreError::Deposed) => false,
                // Whether it still leads is for the lease to say.
                Err(_) => true,
            };
            if !leads {
                tracing::warn!("another server leads; beginning anew");
                return Ok(Ended::BeginsAnew);
            }
        }
    }
}

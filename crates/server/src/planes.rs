//! Syncers: one for each data plane. A syncer sends the wanted table until the data plane acknowledges it, and
//! publishes the acknowledgements and reports.

use crate::clock::Clock;
use crate::records::Records;
use crate::tables::Tables;
use gapless_core::deployment::Traffic;
use gapless_core::facts::{HeldSeen, PlaneFact, PlaneView};
use gapless_core::judge::Figures;
use gapless_core::routes::RouteChange;
use gapless_core::{AppKey, Millis, PlacementId, RouteTable, Timestamp};
use gapless_plane::{ApplyReport, DataPlane, PlaneError, PlaneStatus, Rejection, Retained};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Counts of requests by placement, over all data planes.
pub type TrafficCounts = BTreeMap<PlacementId, Traffic>;

/// The wait before a failed call is repeated: the first one, doubling to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// The maximum wait for a change of a data plane, and so the maximum age of its counts. Shorter while releases are
/// compared.
const POLL_STEADY: Duration = Duration::from_secs(5);
const POLL_CLOSE: Duration = Duration::from_millis(200);
/// The wait before a data plane is sent again the routes that it rejected.
const REJECTED_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long departures of placements are remembered: a drain deadline is never longer.
const DEPARTURES_KEPT: Millis = Millis::from_secs(24 * 3600);

/// Called with the application whose facts changed, or `None` if those of any application may have changed.
type Wake = dyn Fn(Option<&AppKey>) + Send + Sync;

/// All registered data planes, with their last known state.
#[derive(Clone)]
pub struct Planes {
    states: Arc<Mutex<Vec<PlaneState>>>,
    wake: Arc<Wake>,
    /// Notified of each acknowledgement.
    acknowledgements: Arc<Notify>,
    clock: Clock,
}

struct PlaneState {
    name: String,
    acknowledged: Option<Acknowledged>,
    /// The table that was sent and is not acknowledged yet.
    sending: Option<Arc<RouteTable>>,
    /// The problem that a person must fix, while the data plane is away.
    problem: Option<String>,
}

struct Acknowledged {
    /// The table that was sent.
    sent: Arc<RouteTable>,
    /// The table that the data plane applies: the sent one, except for the routes that it rejected.
    table: Arc<RouteTable>,
    rejected: BTreeMap<AppKey, Rejection>,
    at: Instant,
    /// The report that followed the acknowledgement of the table.
    status: Option<PlaneStatus>,
    /// The time of the first acknowledgement to this syncer.
    since: Timestamp,
    /// The times at which placements left the routes after that, for as long as a drain can last.
    left_at: BTreeMap<PlacementId, Timestamp>,
}

impl Planes {
    /// No data plane yet. `wake` is called with the application whose facts changed, or `None` for any.
    pub fn new(clock: Clock, wake: impl Fn(Option<&AppKey>) + Send + Sync + 'static) -> Self {
        Planes { states: Arc::default(), wake: Arc::new(wake), acknowledgements: Arc::default(), clock }
    }

    /// The facts of each data plane that concern one application.
    #[must_use]
    pub fn facts(&self, key: &AppKey) -> Vec<PlaneFact> {
        let states = self.lock();
        let view = |plane: &PlaneState| {
            let acknowledged = plane.acknowledged.as_ref()?;
            if acknowledged.rejected.get(key).is_some_and(|rejected| rejected.retained == Retained::Unknown) {
                return None;
            }
            // A data plane may apply a table at any time after it was sent, even when the table is no longer wanted.
            let sent = acknowledged.sent.groups.get(key);
            if plane.sending.as_ref().is_some_and(|sending| sending.groups.get(key) != sent) {
                return None;
            }
            let left_at = acknowledged.left_at.iter();
            Some(PlaneView {
                group: acknowledged.table.groups.get(key).cloned(),
                in_flight: acknowledged.status.as_ref().and_then(in_flight),
                since: acknowledged.since,
                given_up: acknowledged
                    .status
                    .as_ref()
                    .map(|status| of_application(key, &status.circuit_open))
                    .unwrap_or_default(),
                left_at: left_at.filter(|(id, _)| id.key == *key).map(|(id, at)| (id.clone(), *at)).collect(),
            })
        };
        states.iter().map(|plane| PlaneFact { name: plane.display_name(key), view: view(plane) }).collect()
    }

    /// Counts of requests of an application's placements, over all data planes.
    #[must_use]
    pub fn traffic(&self, key: &AppKey) -> TrafficCounts {
        let mut sum = TrafficCounts::new();
        let states = self.lock();
        let statuses = states.iter().filter_map(|plane| plane.acknowledged.as_ref()?.status.as_ref());
        for (id, traffic) in statuses.flat_map(|status| &status.traffic).filter(|(id, _)| id.key == *key) {
            sum.entry(id.clone()).or_default().add(*traffic);
        }
        sum
    }

    /// The answers of an application's placements, over all data planes; `None` while a data plane has not reported
    /// since its last table.
    #[must_use]
    pub fn figures(&self, key: &AppKey) -> Option<BTreeMap<PlacementId, Figures>> {
        let mut sum = BTreeMap::<_, Figures>::new();
        let states = self.lock();
        for plane in states.iter() {
            let status = plane.acknowledged.as_ref()?.status.as_ref()?;
            for (id, traffic) in status.traffic.iter().filter(|(id, _)| id.key == *key) {
                let in_flight = status.in_flight.get(id).copied().unwrap_or(0);
                let seen = Figures {
                    requests: traffic.requests.saturating_sub(in_flight),
                    // Includes the requests that another slot answered because this one could not.
                    errors: traffic.errors + traffic.refused + traffic.reset + traffic.timed_out,
                    latencies: status.latencies.get(id).cloned().unwrap_or_default(),
                };
                sum.entry(id.clone()).or_default().add(&seen);
            }
        }
        Some(sum)
    }

    /// The requests of an application that were on hold, over all data planes.
    #[must_use]
    pub fn held(&self, key: &AppKey) -> HeldSeen {
        let states = self.lock();
        let statuses = states.iter().filter_map(|plane| plane.acknowledged.as_ref()?.status.as_ref());
        let held = statuses.filter_map(|status| status.held.get(key));
        held.fold(HeldSeen::default(), |all, one| HeldSeen {
            count: all.count + one.count,
            longest_us: all.longest_us.max(one.longest_us),
            release_us: all.release_us.max(one.release_us),
        })
    }

    /// The time of the latest acknowledgement among the data planes.
    #[must_use]
    pub fn acknowledged_at(&self) -> Option<Instant> {
        self.lock().iter().filter_map(|plane| Some(plane.acknowledged.as_ref()?.at)).max()
    }

    /// Waits until all data planes apply the wanted routes of an application.
    pub async fn wait_until_applied(&self, key: &AppKey, tables: &Tables) {
        loop {
            let next = self.acknowledgements.notified();
            let wanted = tables.current();
            let wanted = wanted.groups.get(key);
            let has_applied =
                |plane: &PlaneState| plane.acknowledged.as_ref().is_some_and(|it| it.table.groups.get(key) == wanted);
            if self.lock().iter().all(has_applied) {
                return;
            }
            next.await;
        }
    }

    /// Registers a data plane and keeps it up to date, until the task is dropped.
    pub async fn sync(self, plane: Arc<dyn DataPlane>, tables: Tables, records: Records) {
        let index = {
            let mut states = self.lock();
            states.push(PlaneState { name: plane.name(), acknowledged: None, sending: None, problem: None });
            states.len() - 1
        };
        let mut retry_after = RETRY_FIRST;
        loop {
            let changed = tables.changed();
            let table = tables.current();
            match self.update(index, plane.as_ref(), &table).await {
                Ok(()) => retry_after = RETRY_FIRST,
                Err(error) => {
                    tracing::warn!(plane = plane.name(), "data plane is not up to date: {error}; retrying");
                    self.mark_lost(index, &error);
                    // This server owns the lease, so its records are authoritative: the store was restored from a backup.
                    if let PlaneError::Newer(version) = error
                        && records.allowed().is_ok()
                    {
                        tables.raise_version(version);
                    }
                    tokio::time::sleep(retry_after).await;
                    retry_after = (retry_after * 2).min(RETRY_MAX);
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = plane.wait_for_change(if is_watched(&table) { POLL_CLOSE } else { POLL_STEADY }) => {}
            }
        }
    }

    /// Brings a data plane to the wanted table, and reads its status.
    async fn update(&self, index: usize, plane: &dyn DataPlane, wanted: &Arc<RouteTable>) -> Result<(), PlaneError> {
        let has = self.lock()[index].acknowledged.as_ref().map(|acknowledged| {
            let is_sent = Arc::ptr_eq(&acknowledged.sent, wanted);
            let is_settled = acknowledged.rejected.is_empty() || acknowledged.at.elapsed() < REJECTED_RETRY_AFTER;
            (acknowledged.table.clone(), is_sent && is_settled)
        });
        if !has.as_ref().is_some_and(|(_, is_current)| *is_current) {
            self.lock()[index].sending = Some(wanted.clone());
        }
        let applied = match &has {
            Some((_, true)) => None,
            Some((has, false)) => match plane.change(&difference(has, wanted)).await {
                Err(PlaneError::OtherBase) => Some(plane.replace(wanted).await?),
                other => Some(other?),
            },
            None => Some(plane.replace(wanted).await?),
        };
        let has = has.map(|(has, _)| has);
        let is_new = applied.is_some();
        if let Some(applied) = applied {
            // The counts from before the table say nothing about requests in flight now.
            self.acknowledge(index, wanted, applied);
            self.wake_changed(has.as_deref(), wanted);
        }
        // Applications whose routes changed wait for the first report after the change, even if nothing else is new.
        let status = plane.status().await?;
        if status.version != wanted.version {
            // The data plane restarted, and applies the table that it had on disk.
            return Err(PlaneError::Away(format!("restarted with version {} of the routes", status.version)));
        }
        let changed = {
            let mut states = self.lock();
            let acknowledged = states[index].acknowledged.as_mut();
            acknowledged
                .map(|acknowledged| changed_apps(acknowledged.status.replace(status.clone()).as_ref(), &status, wanted))
        };
        changed.into_iter().flatten().for_each(|key| (self.wake)(Some(&key)));
        if is_new {
            self.wake_changed(has.as_deref(), wanted);
        }
        Ok(())
    }

    fn acknowledge(&self, index: usize, sent: &Arc<RouteTable>, applied: ApplyReport) {
        let now = self.clock.now();
        let table = &effective(sent, &applied.rejected);
        let mut states = self.lock();
        let before = states[index].acknowledged.take();
        let (since, mut left_at) = match &before {
            Some(before) => (before.since, before.left_at.clone()),
            None => (now, BTreeMap::new()),
        };
        let (routed_before, routed) = (before.as_ref().map(|before| routed(&before.table)), routed(table));
        left_at.retain(|id, at| !routed.contains(id) && now.since(*at) < DEPARTURES_KEPT);
        for gone in routed_before.iter().flatten().filter(|id| !routed.contains(*id)) {
            left_at.insert((*gone).clone(), now);
        }
        states[index].problem = None;
        states[index].sending = None;
        states[index].acknowledged = Some(Acknowledged {
            sent: sent.clone(),
            table: table.clone(),
            rejected: applied.rejected,
            at: Instant::now(),
            status: None,
            since,
            left_at,
        });
        drop(states);
        self.acknowledgements.notify_waiters();
    }

    fn wake_changed(&self, before: Option<&RouteTable>, after: &RouteTable) {
        match before {
            Some(before) => difference(before, after).groups.keys().for_each(|key| (self.wake)(Some(key))),
            // Includes applications without routes: they wait until their instances are drained.
            None => (self.wake)(None),
        }
    }

    fn mark_lost(&self, index: usize, error: &PlaneError) {
        let mut states = self.lock();
        states[index].acknowledged = None;
        states[index].sending = None;
        states[index].problem = match error {
            PlaneError::Problem(why) => Some(why.clone()),
            PlaneError::OtherBase | PlaneError::Newer(_) | PlaneError::Away(_) => None,
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PlaneState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaneState {
    /// The name, with the problem of the data plane that concerns the application.
    fn display_name(&self, key: &AppKey) -> String {
        let rejected = self.acknowledged.as_ref().and_then(|acknowledged| acknowledged.rejected.get(key));
        match rejected.map(|rejected| &rejected.why).or(self.problem.as_ref()) {
            Some(why) => format!("{} ({why})", self.name),
            None => self.name.clone(),
        }
    }
}

/// The requests in flight, where the data plane knows them.
fn in_flight(status: &PlaneStatus) -> Option<BTreeMap<PlacementId, u64>> {
    (!status.is_in_flight_unknown).then(|| status.in_flight.clone())
}

/// The table that a data plane applies if it rejected parts of `sent`.
fn effective(sent: &Arc<RouteTable>, rejected: &BTreeMap<AppKey, Rejection>) -> Arc<RouteTable> {
    let mut table = sent.clone();
    for (key, rejected) in rejected {
        let groups = &mut Arc::make_mut(&mut table).groups;
        match &rejected.retained {
            Retained::Group(group) => groups.insert(key.clone(), group.clone()),
            Retained::Nothing | Retained::Unknown => groups.remove(key),
        };
    }
    table
}

fn routed(table: &RouteTable) -> BTreeSet<&PlacementId> {
    table.groups.values().flat_map(|group| group.placements()).map(|slot| &slot.placement).collect()
}

/// True if a release in the table is compared or tested, so that counts must be recent.
fn is_watched(table: &RouteTable) -> bool {
    table.groups.values().any(|group| group.slots.len() > 1 || group.preview.is_some())
}

fn of_application<T: Clone>(key: &AppKey, all: &BTreeMap<PlacementId, T>) -> BTreeMap<PlacementId, T> {
    all.iter().filter(|(id, _)| id.key == *key).map(|(id, value)| (id.clone(), value.clone())).collect()
}

/// The applications whose facts the new status changes: a placement of theirs drained, refused connections, receives no
/// more requests, or has new counts for a comparison.
fn changed_apps(before: Option<&PlaneStatus>, after: &PlaneStatus, table: &RouteTable) -> BTreeSet<AppKey> {
    let empty = PlaneStatus::default();
    let before = before.unwrap_or(&empty);
    let drained =
        before.in_flight.iter().filter(|(id, count)| **count > 0 && after.in_flight.get(id).is_none_or(|n| *n == 0));
    let refused =
        after.refused.iter().filter(|(id, count)| before.refused.get(id).is_none_or(|before| *count > before));
    let opened = after.circuit_open.iter().filter(|(id, _)| !before.circuit_open.contains_key(id));
    let compared = after.traffic.iter().filter(|(id, traffic)| {
        let is_compared = table.groups.get(&id.key).is_some_and(|group| group.slots.len() > 1);
        is_compared && before.traffic.get(id) != Some(traffic)
    });
    let keys = drained.chain(refused).chain(opened).map(|(id, _)| id);
    keys.chain(compared.map(|(id, _)| id)).map(|id| id.key.clone()).collect()
}

fn difference(before: &RouteTable, after: &RouteTable) -> RouteChange {
    let is_same = |key: &AppKey, group: &Arc<gapless_core::RouteGroup>| {
        before.groups.get(key).is_some_and(|old| Arc::ptr_eq(old, group) || old == group)
    };
    let changed = after.groups.iter().filter(|(key, group)| !is_same(key, group));
    let changed = changed.map(|(key, group)| (key.clone(), Some(group.clone())));
    let gone = before.groups.keys().filter(|key| !after.groups.contains_key(key)).map(|key| (key.clone(), None));
    RouteChange { base: before.version, version: after.version, groups: changed.chain(gone).collect() }
}

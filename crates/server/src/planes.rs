//! One keeper a data plane: tells it the wanted table until it acknowledges it, and publishes what it acknowledged and
//! reports.

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
pub type TrafficSeen = BTreeMap<PlacementId, Traffic>;

/// How soon an unanswered call is repeated, growing to the second one.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// How long one wait for news lasts at most: counts are never older. Shorter while releases are compared.
const NOTICE_STEADY: Duration = Duration::from_secs(5);
const NOTICE_CLOSE: Duration = Duration::from_millis(200);
/// How soon a data plane is told again what it did not take.
const REJECTED_RETRY_AFTER: Duration = Duration::from_secs(5);
/// A drain deadline is never longer than this.
const LEFT_REMEMBERED: Millis = Millis::from_secs(24 * 3600);

/// Told whose facts changed: an application's, or any's.
type Wake = dyn Fn(Option<&AppKey>) + Send + Sync;

/// All registered data planes, as they are known.
#[derive(Clone)]
pub struct Planes {
    known: Arc<Mutex<Vec<Known>>>,
    wake: Arc<Wake>,
    /// Told of each acknowledgement.
    acknowledgements: Arc<Notify>,
    clock: Clock,
}

struct Known {
    name: String,
    acknowledged: Option<Acknowledged>,
    /// What it is being told and has not acknowledged.
    sending: Option<Arc<RouteTable>>,
    /// What a person has to mend, while it is away.
    problem: Option<String>,
}

struct Acknowledged {
    /// The table that it was told.
    told: Arc<RouteTable>,
    /// The table that it goes by: the same, but for what it did not take.
    table: Arc<RouteTable>,
    rejected: BTreeMap<AppKey, Rejection>,
    at: Instant,
    /// What it reported after it had acknowledged the table.
    status: Option<PlaneStatus>,
    /// When it first acknowledged a table to this keeper.
    since: Timestamp,
    /// When placements left its routes after that, for as long as a drain can last.
    left_at: BTreeMap<PlacementId, Timestamp>,
}

impl Planes {
    /// No data plane yet; `wake` is told which application has news, or that any may have some.
    pub fn new(clock: Clock, wake: impl Fn(Option<&AppKey>) + Send + Sync + 'static) -> Self {
        Planes { known: Arc::default(), wake: Arc::new(wake), acknowledgements: Arc::default(), clock }
    }

    /// What is known of each data plane, as far as it concerns one application.
    #[must_use]
    pub fn facts(&self, key: &AppKey) -> Vec<PlaneFact> {
        let known = self.lock();
        let view = |plane: &Known| {
            let acknowledged = plane.acknowledged.as_ref()?;
            if acknowledged.rejected.get(key).is_some_and(|rejected| rejected.retained == Retained::Unknown) {
                return None;
            }
            // It may go by what it is just being told at any time, also after that is not wanted any more.
            let told = acknowledged.told.groups.get(key);
            if plane.sending.as_ref().is_some_and(|sending| sending.groups.get(key) != told) {
                return None;
            }
            let left_at = acknowledged.left_at.iter();
            Some(PlaneView {
                group: acknowledged.table.groups.get(key).cloned(),
                in_flight: acknowledged.status.as_ref().and_then(in_flight),
                since: acknowledged.since,
                circuit_open: acknowledged.status.as_ref().map(|status| of(key, &status.given_up)).unwrap_or_default(),
                left_at: left_at.filter(|(id, _)| id.key == *key).map(|(id, at)| (id.clone(), *at)).collect(),
            })
        };
        known.iter().map(|plane| PlaneFact { name: plane.shown(key), view: view(plane) }).collect()
    }

    /// Requests of an application's placements, over all data planes.
    #[must_use]
    pub fn traffic(&self, key: &AppKey) -> TrafficSeen {
        let mut sum = TrafficSeen::new();
        let known = self.lock();
        let statuses = known.iter().filter_map(|plane| plane.acknowledged.as_ref()?.status.as_ref());
        for (id, traffic) in statuses.flat_map(|status| &status.traffic).filter(|(id, _)| id.key == *key) {
            sum.entry(id.clone()).or_default().add(*traffic);
        }
        sum
    }

    /// What an application's placements have answered, over all data planes; `None` while one of them has not told
    /// since its last table.
    #[must_use]
    pub fn figures(&self, key: &AppKey) -> Option<BTreeMap<PlacementId, Figures>> {
        let mut sum = BTreeMap::<_, Figures>::new();
        let known = self.lock();
        for plane in known.iter() {
            let status = plane.acknowledged.as_ref()?.status.as_ref()?;
            for (id, traffic) in status.traffic.iter().filter(|(id, _)| id.key == *key) {
                let in_flight = status.in_flight.get(id).copied().unwrap_or(0);
                let seen = Figures {
                    requests: traffic.requests.saturating_sub(in_flight),
                    // Also those that another slot answered in its stead: it could not.
                    errors: traffic.errors + traffic.refused + traffic.reset + traffic.timed_out,
                    latencies: status.latencies.get(id).cloned().unwrap_or_default(),
                };
                sum.entry(id.clone()).or_default().add(&seen);
            }
        }
        Some(sum)
    }

    /// What was held of an application's requests, over all data planes.
    #[must_use]
    pub fn held(&self, key: &AppKey) -> HeldSeen {
        let known = self.lock();
        let statuses = known.iter().filter_map(|plane| plane.acknowledged.as_ref()?.status.as_ref());
        let held = statuses.filter_map(|status| status.held.get(key));
        held.fold(HeldSeen::default(), |all, one| HeldSeen {
            count: all.count + one.count,
            longest_us: all.longest_us.max(one.longest_us),
            release_us: all.release_us.max(one.release_us),
        })
    }

    /// When the last data plane acknowledged the table that it goes by.
    #[must_use]
    pub fn acknowledged_at(&self) -> Option<Instant> {
        self.lock().iter().filter_map(|plane| Some(plane.acknowledged.as_ref()?.at)).max()
    }

    /// Waits until all data planes go by an application's wanted routes.
    pub async fn go_by(&self, key: &AppKey, tables: &Tables) {
        loop {
            let next = self.acknowledgements.notified();
            let wanted = tables.current();
            let wanted = wanted.groups.get(key);
            let goes_by =
                |plane: &Known| plane.acknowledged.as_ref().is_some_and(|it| it.table.groups.get(key) == wanted);
            if self.lock().iter().all(goes_by) {
                return;
            }
            next.await;
        }
    }

    /// Registers a data plane and keeps it up to date, until the task is dropped.
    pub async fn keep(self, plane: Arc<dyn DataPlane>, tables: Tables, records: Records) {
        let index = {
            let mut known = self.lock();
            known.push(Known { name: plane.name(), acknowledged: None, sending: None, problem: None });
            known.len() - 1
        };
        let mut retry_after = RETRY_FIRST;
        loop {
            let changed = tables.changed();
            let table = tables.current();
            match self.bring_up_to(index, plane.as_ref(), &table).await {
                Ok(()) => retry_after = RETRY_FIRST,
                Err(error) => {
                    tracing::warn!(plane = plane.name(), %error, "the data plane is not up to date");
                    self.lose(index, &error);
                    // Who may act has the newest records that there are: these were restored, and are to be gone by.
                    if let PlaneError::Newer(version) = error
                        && records.allowed().is_ok()
                    {
                        tables.not_before(version);
                    }
                    tokio::time::sleep(retry_after).await;
                    retry_after = (retry_after * 2).min(RETRY_MAX);
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = plane.notice(if is_watched(&table) { NOTICE_CLOSE } else { NOTICE_STEADY }) => {}
            }
        }
    }

    async fn bring_up_to(
        &self,
        index: usize,
        plane: &dyn DataPlane,
        wanted: &Arc<RouteTable>,
    ) -> Result<(), PlaneError> {
        let has = self.lock()[index].acknowledged.as_ref().map(|acknowledged| {
            let is_told = Arc::ptr_eq(&acknowledged.told, wanted);
            let is_settled = acknowledged.rejected.is_empty() || acknowledged.at.elapsed() < REJECTED_RETRY_AFTER;
            (acknowledged.table.clone(), is_told && is_settled)
        });
        if !has.as_ref().is_some_and(|(_, is_told)| *is_told) {
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
            // Its counts of before say nothing about what is in flight now.
            self.acknowledge(index, wanted, applied);
            self.wake_changed(has.as_deref(), wanted);
        }
        // Applications whose routes changed wait for the first report since, whatever it says.
        let status = plane.status().await?;
        if status.version != wanted.version {
            // It was started anew, and goes by what it had on disk.
            return Err(PlaneError::Away(format!("it goes by version {} again", status.version)));
        }
        let news = {
            let mut known = self.lock();
            let acknowledged = known[index].acknowledged.as_mut();
            acknowledged.map(|acknowledged| news(acknowledged.status.replace(status.clone()).as_ref(), &status, wanted))
        };
        news.into_iter().flatten().for_each(|key| (self.wake)(Some(&key)));
        if is_new {
            self.wake_changed(has.as_deref(), wanted);
        }
        Ok(())
    }

    fn acknowledge(&self, index: usize, told: &Arc<RouteTable>, applied: ApplyReport) {
        let now = self.clock.now();
        let table = &effective(told, &applied.rejected);
        let mut known = self.lock();
        let before = known[index].acknowledged.take();
        let (since, mut left_at) = match &before {
            Some(before) => (before.since, before.left_at.clone()),
            None => (now, BTreeMap::new()),
        };
        let (routed_before, routed) = (before.as_ref().map(|before| routed(&before.table)), routed(table));
        left_at.retain(|id, at| !routed.contains(id) && now.since(*at) < LEFT_REMEMBERED);
        for gone in routed_before.iter().flatten().filter(|id| !routed.contains(*id)) {
            left_at.insert((*gone).clone(), now);
        }
        known[index].problem = None;
        known[index].sending = None;
        known[index].acknowledged = Some(Acknowledged {
            told: told.clone(),
            table: table.clone(),
            rejected: applied.rejected,
            at: Instant::now(),
            status: None,
            since,
            left_at,
        });
        drop(known);
        self.acknowledgements.notify_waiters();
    }

    fn wake_changed(&self, before: Option<&RouteTable>, after: &RouteTable) {
        match before {
            Some(before) => difference(before, after).groups.keys().for_each(|key| (self.wake)(Some(key))),
            // Also those that have no routes any more: they wait for their instances to be drained.
            None => (self.wake)(None),
        }
    }

    fn lose(&self, index: usize, error: &PlaneError) {
        let mut known = self.lock();
        known[index].acknowledged = None;
        known[index].sending = None;
        known[index].problem = match error {
            PlaneError::Problem(why) => Some(why.clone()),
            PlaneError::OtherBase | PlaneError::Newer(_) | PlaneError::Away(_) => None,
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Its name, with what is wrong with it as far as that concerns an application.
    fn shown(&self, key: &AppKey) -> String {
        let rejected = self.acknowledged.as_ref().and_then(|acknowledged| acknowledged.rejected.get(key));
        match rejected.map(|rejected| &rejected.why).or(self.problem.as_ref()) {
            Some(why) => format!("{} ({why})", self.name),
            None => self.name.clone(),
        }
    }
}

/// What is in flight, where that is known.
fn in_flight(status: &PlaneStatus) -> Option<BTreeMap<PlacementId, u64>> {
    (!status.is_in_flight_unknown).then(|| status.in_flight.clone())
}

/// The table that a data plane goes by that did not take all of `told`.
fn effective(told: &Arc<RouteTable>, rejected: &BTreeMap<AppKey, Rejection>) -> Arc<RouteTable> {
    let mut table = told.clone();
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

/// Whether something in the table is compared or tested, so that counts must be new.
fn is_watched(table: &RouteTable) -> bool {
    table.groups.values().any(|group| group.slots.len() > 1 || group.preview.is_some())
}

fn of<T: Clone>(key: &AppKey, all: &BTreeMap<PlacementId, T>) -> BTreeMap<PlacementId, T> {
    all.iter().filter(|(id, _)| id.key == *key).map(|(id, value)| (id.clone(), value.clone())).collect()
}

/// The applications for which the new status matters: something of theirs drained, refused connections or was given up,
/// or has new counts to be compared.
fn news(before: Option<&PlaneStatus>, after: &PlaneStatus, table: &RouteTable) -> BTreeSet<AppKey> {
    let empty = PlaneStatus::default();
    let before = before.unwrap_or(&empty);
    let drained =
        before.in_flight.iter().filter(|(id, count)| **count > 0 && after.in_flight.get(id).is_none_or(|n| *n == 0));
    let refused =
        after.refused.iter().filter(|(id, count)| before.refused.get(id).is_none_or(|before| *count > before));
    let given_up = after.given_up.iter().filter(|(id, _)| !before.given_up.contains_key(id));
    let compared = after.traffic.iter().filter(|(id, traffic)| {
        let is_compared = table.groups.get(&id.key).is_some_and(|group| group.slots.len() > 1);
        is_compared && before.traffic.get(id) != Some(traffic)
    });
    let keys = drained.chain(refused).chain(given_up).map(|(id, _)| id);
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

//! One simulation: a while of faults, people and crashes, then peace; and the judgement. And many of them.

use crate::dice::Dice;
use crate::host::{Host, Outside, Server};
use crate::lease::Lease;
use crate::records::RecordJudge;
use crate::story::Who;
use crate::verdict;
use crate::world::World;
use crate::{people, plane, runtime};
use gapless_store::MemoryStore;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the troubled part lasts, in simulated time.
const TROUBLE: Duration = Duration::from_secs(120);
/// How long everything may take to come to its end afterwards.
const PEACE: Duration = Duration::from_secs(120);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a server stands still at most.
const STANDS_STILL_MAX: Duration = Duration::from_secs(10);

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// What broke; empty is as it should be.
    pub violations: Vec<String>,
    /// What happened, line by line; empty unless it was asked for.
    pub story: Vec<String>,
    /// Requests that were sent.
    pub requests: u64,
    /// Deployments that ended.
    pub deployments: u64,
}

/// Runs the simulation of that seed, and tells its story.
///
/// # Errors
/// If the simulated runtime cannot be built.
pub fn run(seed: u64) -> std::io::Result<Outcome> {
    simulate(seed, true)
}

fn simulate(seed: u64, tells: bool) -> std::io::Result<Outcome> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(tokio.block_on(async { Simulation::new(seed, tells).run().await }))
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// The seeds that broke a rule, each with the first that it broke.
    pub failed: Vec<(u64, String)>,
    /// How many were run.
    pub seeds: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Deployments that ended.
    pub deployments: u64,
}

/// Runs the simulations of many seeds, on all cores.
///
/// # Errors
/// As [`run`].
pub fn run_many(seeds: Range<u64>) -> std::io::Result<Summary> {
    run_until(seeds, usize::MAX)
}

/// Runs the simulations of many seeds, on all cores, until so many of them have broken a rule.
///
/// # Errors
/// As [`run`].
pub fn run_until(seeds: Range<u64>, failed_max: usize) -> std::io::Result<Summary> {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || -> std::io::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || summary.lock().unwrap_or_else(PoisonError::into_inner).failed.len() >= failed_max {
                return Ok(());
            }
            let outcome = simulate(seed, false)?;
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.seeds += 1;
            summary.requests += outcome.requests;
            summary.deployments += outcome.deployments;
            summary.failed.extend(outcome.violations.into_iter().next().map(|violation| (seed, violation)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|done| done.unwrap_or_else(|_| Err(std::io::Error::other("a simulation panicked"))))
            .collect::<Vec<_>>()
    });
    done.into_iter().collect::<Result<(), _>>()?;
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failed.sort();
    Ok(summary)
}

struct Simulation {
    outside: Outside,
    hosts: Vec<Host>,
    tasks: JoinSet<()>,
}

impl Simulation {
    fn new(seed: u64, tells: bool) -> Self {
        let (dice, world) = (Dice::new(seed), World::new(true, tells));
        let (events, _) = broadcast::channel(1024);
        let planes = 1 + usize::from(dice.once_in(2));
        (0..planes).for_each(|_| plane::add(&world));
        let servers = if dice.once_in(3) { 2 } else { 1 };
        let outside = Outside {
            dice,
            world,
            store: MemoryStore::new(),
            judge: RecordJudge::default(),
            planes,
            events,
            lease: (servers > 1).then(Lease::default),
        };
        let hosts = (0..servers).map(|index| Host::new(index, outside.clone())).collect();
        Simulation { outside, hosts, tasks: JoinSet::new() }
    }

    async fn run(mut self) -> Outcome {
        let Outside { dice, world, planes, events, .. } = self.outside.clone();
        for index in 0..planes {
            self.tasks.spawn(plane::requests(world.clone(), dice.clone(), index));
            self.tasks.spawn(plane::outages(world.clone(), dice.clone(), index));
        }
        self.tasks.spawn(runtime::mortality(world.clone(), dice.clone(), events));
        self.hosts.iter_mut().for_each(|host| host.begin(&mut self.tasks));
        let trouble_ends = Instant::now() + TROUBLE;
        while Instant::now() < trouble_ends && world.lock().violations.is_empty() {
            dice.wait_up_to(6_000).await;
            self.somebody_acts();
            self.something_happens().await;
        }
        world.lock().has_faults = false;
        world.tell(Who::Chance, || "peace".to_owned());
        let mut deployments = 0;
        let has_broken = !world.lock().violations.is_empty();
        let server = if has_broken { None } else { self.settled().await };
        if let Some(server) = server {
            verdict::deploy_once_more(&server, &world, &dice).await;
            deployments = verdict::count_deployments(&server).await;
        }
        self.hosts.iter_mut().for_each(Host::kill);
        let mut state = world.lock();
        Outcome {
            violations: std::mem::take(&mut state.violations),
            story: state.story.lines(),
            requests: state.requests,
            deployments,
        }
    }

    /// Somebody asks a server for something; with two it may be one that only believes to lead.
    fn somebody_acts(&self) {
        let Outside { dice, world, .. } = self.outside.clone();
        let servers: Vec<_> = self.hosts.iter().filter_map(Host::server).collect();
        let server = servers.get(usize::try_from(dice.below(servers.len() as u64)).unwrap_or(0));
        if let Some(server) = server {
            let (operations, now) = (server.operations.clone(), server.clock.now());
            server.spawn(async move { people::act(&operations, &world, &dice, now).await });
        }
    }

    /// What goes wrong with servers and their hosts.
    async fn something_happens(&mut self) {
        let Outside { dice, world, .. } = self.outside.clone();
        let count = self.hosts.len();
        let any = |dice: &Dice| usize::try_from(dice.below(count as u64)).unwrap_or(0);
        if dice.once_in(6) {
            let index = any(&dice);
            self.hosts[index].kill();
            dice.wait_up_to(4_000).await;
            self.hosts[index].begin(&mut self.tasks);
        }
        if dice.once_in(if count > 1 { 5 } else { 20 }) {
            let index = any(&dice);
            self.hosts[index].stand_still(STANDS_STILL_MAX.mul_f64(dice.below(1_000) as f64 / 1_000.0));
        }
        if dice.once_in(15) {
            // An hour or ten years, forward or back.
            let far: i64 = if dice.once_in(5) { 10 * 365 * 24 * 3_600_000 } else { 3_600_000 };
            let offset = match dice.below(3) {
                0 => far,
                1 => -far,
                _ => 0,
            };
            world.tell(Who::Chance, || format!("the wall clock is set: {} h from the right time", offset / 3_600_000));
            world.lock().wall_offset_ms = offset;
        }
        if dice.once_in(20) {
            let time = Duration::from_millis(dice.below(10_000));
            world.tell(Who::Chance, || format!("the disk is full for {} ms", time.as_millis()));
            world.lock().disk_full_until = Instant::now() + time;
        }
        if dice.once_in(40) {
            self.hosts.iter_mut().for_each(Host::kill);
            world.lock().reboot();
            dice.wait_up_to(4_000).await;
            self.hosts.iter_mut().for_each(|host| host.begin(&mut self.tasks));
        }
    }

    /// Waits until everything has come to its end; the server that works.
    async fn settled(&self) -> Option<Arc<Server>> {
        let world = &self.outside.world;
        let give_up_at = Instant::now() + PEACE;
        // Who stood still does not any more, and who only believed to lead knows better.
        tokio::time::sleep(STANDS_STILL_MAX).await;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let server = self.hosts.iter().find_map(Host::server);
            let unsettled = match &server {
                Some(server) => verdict::unsettled(server, world).await,
                None => vec!["no server leads, although nothing is in its way".to_owned()],
            };
            if unsettled.is_empty() {
                return server;
            }
            if Instant::now() >= give_up_at {
                unsettled.into_iter().for_each(|violation| world.lock().violate(violation));
                return None;
            }
        }
    }
}

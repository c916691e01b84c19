//! One simulation: a period of faults, people's actions and crashes, then a quiet period and the final checks. Also
//! runs many seeds.

use crate::host::{Environment, Host, Server};
use crate::lease::Lease;
use crate::records::RecordJudge;
use crate::rng::Rng;
use crate::timeline::Source;
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

/// The duration of the period with faults, in simulated time.
const TROUBLE: Duration = Duration::from_secs(120);
/// The time limit for settling afterwards.
const PEACE: Duration = Duration::from_secs(120);
/// The interval of the checks for that.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// The longest pause of a server.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The result of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The broken rules; empty if all held.
    pub violations: Vec<String>,
    /// The timeline, line by line; empty unless it was recorded.
    pub timeline: Vec<String>,
    /// The number of requests.
    pub requests: u64,
    /// The number of deployments.
    pub deployments: u64,
}

/// Runs the simulation of a seed and records its timeline.
///
/// # Errors
/// If the simulated runtime cannot be built.
pub fn run(seed: u64) -> std::io::Result<Outcome> {
    simulate(seed, true)
}

fn simulate(seed: u64, keeps_timeline: bool) -> std::io::Result<Outcome> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(tokio.block_on(async { Simulation::new(seed, keeps_timeline).run().await }))
}

/// The result of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// The seeds that broke a rule, each with its first violation.
    pub failed: Vec<(u64, String)>,
    /// The number of seeds.
    pub seeds: u64,
    /// The number of requests.
    pub requests: u64,
    /// The number of deployments.
    pub deployments: u64,
}

/// Runs the simulations of many seeds, on all cores.
///
/// # Errors
/// As [`run`].
pub fn run_many(seeds: Range<u64>) -> std::io::Result<Summary> {
    run_until(seeds, usize::MAX)
}

/// Runs the simulations of many seeds, on all cores, until `failed_max` of them have broken a rule.
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
    environment: Environment,
    hosts: Vec<Host>,
    tasks: JoinSet<()>,
}

impl Simulation {
    fn new(seed: u64, keeps_timeline: bool) -> Self {
        let (rng, world) = (Rng::new(seed), World::new(true, keeps_timeline));
        let (events, _) = broadcast::channel(1024);
        let planes = 1 + usize::from(rng.once_in(2));
        (0..planes).for_each(|_| plane::add(&world));
        let servers = if rng.once_in(3) { 2 } else { 1 };
        let environment = Environment {
            rng,
            world,
            store: MemoryStore::new(),
            judge: RecordJudge::default(),
            planes,
            events,
            lease: (servers > 1).then(Lease::default),
        };
        let hosts = (0..servers).map(|index| Host::new(index, environment.clone())).collect();
        Simulation { environment, hosts, tasks: JoinSet::new() }
    }

    async fn run(mut self) -> Outcome {
        let Environment { rng, world, planes, events, .. } = self.environment.clone();
        for index in 0..planes {
            self.tasks.spawn(plane::requests(world.clone(), rng.clone(), index));
            self.tasks.spawn(plane::outages(world.clone(), rng.clone(), index));
        }
        self.tasks.spawn(runtime::random_exits(world.clone(), rng.clone(), events));
        self.hosts.iter_mut().for_each(|host| host.start(&mut self.tasks));
        let trouble_ends = Instant::now() + TROUBLE;
        while Instant::now() < trouble_ends && world.lock().violations.is_empty() {
            rng.wait_up_to(6_000).await;
            self.person_acts();
            self.inject_faults().await;
        }
        world.lock().has_faults = false;
        world.log(Source::Chance, || "no more faults".to_owned());
        let mut deployments = 0;
        let has_broken = !world.lock().violations.is_empty();
        let server = if has_broken { None } else { self.settled().await };
        if let Some(server) = server {
            verdict::deploy_once_more(&server, &world, &rng).await;
            deployments = verdict::count_deployments(&server).await;
        }
        self.hosts.iter_mut().for_each(Host::kill);
        let mut state = world.lock();
        Outcome {
            violations: std::mem::take(&mut state.violations),
            timeline: state.timeline.lines(),
            requests: state.requests,
            deployments,
        }
    }

    /// Performs a person's action on a server. Of two servers it may be one that only believes that it leads.
    fn person_acts(&self) {
        let Environment { rng, world, .. } = self.environment.clone();
        let servers: Vec<_> = self.hosts.iter().filter_map(Host::server).collect();
        let server = servers.get(usize::try_from(rng.below(servers.len() as u64)).unwrap_or(0));
        if let Some(server) = server {
            let (operations, now) = (server.operations.clone(), server.clock.now());
            server.spawn(async move { people::act(&operations, &world, &rng, now).await });
        }
    }

    /// Injects faults into servers and their hosts.
    async fn inject_faults(&mut self) {
        let Environment { rng, world, .. } = self.environment.clone();
        let count = self.hosts.len();
        let any = |rng: &Rng| usize::try_from(rng.below(count as u64)).unwrap_or(0);
        if rng.once_in(6) {
            let index = any(&rng);
            self.hosts[index].kill();
            rng.wait_up_to(4_000).await;
            self.hosts[index].start(&mut self.tasks);
        }
        if rng.once_in(if count > 1 { 5 } else { 20 }) {
            let index = any(&rng);
            self.hosts[index].pause_for(PAUSE_MAX.mul_f64(rng.below(1_000) as f64 / 1_000.0));
        }
        if rng.once_in(15) {
            // An hour or ten years, forward or back.
            let far: i64 = if rng.once_in(5) { 10 * 365 * 24 * 3_600_000 } else { 3_600_000 };
            let offset = match rng.below(3) {
                0 => far,
                1 => -far,
                _ => 0,
            };
            world
                .log(Source::Chance, || format!("the wall clock is set: {} h from the right time", offset / 3_600_000));
            world.lock().wall_offset_ms = offset;
        }
        if rng.once_in(20) {
            let time = Duration::from_millis(rng.below(10_000));
            world.log(Source::Chance, || format!("the disk is full for {} ms", time.as_millis()));
            world.lock().disk_full_until = Instant::now() + time;
        }
        if rng.once_in(40) {
            self.hosts.iter_mut().for_each(Host::kill);
            world.lock().reboot();
            rng.wait_up_to(4_000).await;
            self.hosts.iter_mut().for_each(|host| host.start(&mut self.tasks));
        }
    }

    /// Waits until everything has settled, and returns the server that works.
    async fn settled(&self) -> Option<Arc<Server>> {
        let world = &self.environment.world;
        let give_up_at = Instant::now() + PEACE;
        // Lets every pause end, and every former leader notice.
        tokio::time::sleep(PAUSE_MAX).await;
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let server = self.hosts.iter().find_map(Host::server);
            let unsettled = match &server {
                Some(server) => verdict::unsettled(server, world).await,
                None => vec!["no server leads, although no fault prevents it".to_owned()],
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

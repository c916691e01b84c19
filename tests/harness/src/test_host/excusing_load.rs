//! A load that excuses the requests in flight in a process that was killed.

use crate::host::Host;
use crate::load::Load;
use gapless_ledger::{Failure, LoadPlan, Mix, Report};
use std::time::{Duration, SystemTime};

/// The maximum time until a killed process has closed all connections.
const KILLED_WITHIN: Duration = Duration::from_millis(250);

/// A load, with the times at which processes were killed under it.
pub struct ExcusingLoad {
    load: Load,
    /// Bounds of the start of the load's own clock.
    began: SystemTime,
    begun: SystemTime,
    /// Periods in which a request in flight may fail.
    kills: Vec<(SystemTime, SystemTime)>,
}

/// The result of a load.
#[derive(Debug, Clone, Default)]
pub struct LoadResult {
    /// Requests.
    pub requests: u64,
    /// Failed requests that were not in flight in a killed process.
    pub failed: Vec<String>,
    /// Failed requests that were in flight in a killed process.
    pub excused: u64,
}

impl ExcusingLoad {
    /// Starts GET and POST on kept and fresh connections, and slow downloads.
    #[must_use]
    pub fn start(host: &Host, rate_per_s: u32) -> Self {
        ExcusingLoad::of(Mix::All, host, rate_per_s)
    }

    /// Starts a load of this mix.
    #[must_use]
    pub fn of(mix: Mix, host: &Host, rate_per_s: u32) -> Self {
        let plan = LoadPlan {
            rate_per_s,
            mix,
            websockets: 0,
            event_streams: 0,
            host: "production.example".to_owned(),
            ..LoadPlan::new(host.address())
        };
        let began = SystemTime::now();
        let load = Load::start(plan);
        ExcusingLoad { load, began, begun: SystemTime::now(), kills: Vec::new() }
    }

    /// The number of finished requests, successful or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.load.requests()
    }

    /// Excuses requests in flight at this moment: their process was killed.
    pub fn killed_at(&mut self, at: SystemTime) {
        self.kills.push((at, at + KILLED_WITHIN));
    }

    /// Excuses requests in flight in this period: no process listened.
    pub fn down(&mut self, from: SystemTime, to: SystemTime) {
        self.kills.push((from, to));
    }

    /// Ends the load.
    #[must_use]
    pub fn stop(self) -> LoadResult {
        let (began, begun, kills) = (self.began, self.begun, self.kills);
        let report: Report = self.load.stop();
        let is_excused = |failure: &Failure| {
            let sent = began + Duration::from_micros(failure.at_us);
            let ended = begun + Duration::from_micros(failure.at_us + failure.after_us);
            kills.iter().any(|(from, to)| sent <= *to && ended >= *from)
        };
        let (excused, failed): (Vec<_>, Vec<_>) = report.failures.iter().partition(|failure| is_excused(failure));
        let mut failed: Vec<String> = failed.iter().map(|failure| format!("{failure:?}")).collect();
        let beyond = report.failed - report.failures.len() as u64;
        failed.extend((0..beyond).map(|_| "a failure beyond those that the ledger keeps".to_owned()));
        LoadResult { requests: report.requests, failed, excused: excused.len() as u64 }
    }
}

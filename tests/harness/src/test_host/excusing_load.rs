//! A load under which processes are killed.

use crate::host::Host;
use crate::load::Load;
use gapless_ledger::{Failure, LoadPlan, Mix, Report};
use std::time::{Duration, SystemTime};

/// How long a killed process may take to have let go of everything.
const KILLED_WITHIN: Duration = Duration::from_millis(250);

/// A load, and when things were killed under it.
pub struct ExcusingLoad {
    load: Load,
    /// The load's own clock began between these two.
    began: SystemTime,
    begun: SystemTime,
    /// In flight between these two it may have failed.
    kills: Vec<(SystemTime, SystemTime)>,
}

/// What a load saw.
#[derive(Debug, Clone, Default)]
pub struct LoadResult {
    /// Requests.
    pub requests: u64,
    /// Those that failed and were not in flight in what was killed.
    pub failed: Vec<String>,
    /// Those that failed and were.
    pub excused: u64,
}

impl ExcusingLoad {
    /// GET and POST on kept and fresh connections, and slow downloads.
    #[must_use]
    pub fn start(host: &Host, rate_per_s: u32) -> Self {
        ExcusingLoad::of(Mix::All, host, rate_per_s)
    }

    /// Of that mix.
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

    /// How many requests have ended, well or badly.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.load.requests()
    }

    /// Requests that are in flight at that moment may fail: what had them was killed then.
    pub fn killed_at(&mut self, at: SystemTime) {
        self.kills.push((at, at + KILLED_WITHIN));
    }

    /// Between these two nobody listened.
    pub fn down(&mut self, from: SystemTime, to: SystemTime) {
        self.kills.push((from, to));
    }

    /// Ends the load: what it saw.
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
        let untold = report.failed - report.failures.len() as u64;
        failed.extend((0..untold).map(|_| "a failure that the ledger did not tell".to_owned()));
        LoadResult { requests: report.requests, failed, excused: excused.len() as u64 }
    }
}

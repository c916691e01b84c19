//! A load in the background of a scenario.

use gapless_e2e::Host;
use gapless_ledger::{Ledger, LoadPlan, Mix, Report, Running};
use tokio::runtime::Runtime;

pub struct Load {
    tokio: Runtime,
    running: Running,
}

impl Load {
    /// Idempotent requests, at that rate.
    pub fn start(host: &Host, rate_per_s: u32) -> Load {
        let tokio = Runtime::new().expect("tokio can be set up");
        let plan =
            LoadPlan { rate_per_s, mix: Mix::Get, websockets: 0, event_streams: 0, ..LoadPlan::new(host.address()) };
        Load { running: tokio.block_on(async { Ledger::start(plan) }), tokio }
    }

    /// Requests that have ended, and of these, those that failed.
    pub fn counts(&self) -> (u64, u64) {
        let report = self.running.snapshot();
        (report.requests, report.failed)
    }

    pub fn stop(self) -> Report {
        self.tokio.block_on(self.running.stop())
    }
}

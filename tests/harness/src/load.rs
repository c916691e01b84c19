//! A load in the background: the ledger on threads of its own, beside the test.

use gapless_ledger::{Ledger, LoadPlan, Mix, Report, Running};
use std::net::SocketAddr;
use tokio::runtime::Runtime;

/// A running load.
pub struct Load {
    tokio: Runtime,
    running: Running,
}

impl Load {
    /// Starts a load.
    #[must_use]
    pub fn start(plan: LoadPlan) -> Self {
        let tokio = Runtime::new().expect("tokio can be set up");
        Load { running: tokio.block_on(async { Ledger::start(plan) }), tokio }
    }

    /// Requests of all kinds.
    #[must_use]
    pub fn of_all_kinds(address: SocketAddr, rate_per_s: u32) -> Self {
        Load::start(LoadPlan { rate_per_s, mix: Mix::All, ..LoadPlan::new(address) })
    }

    /// Idempotent requests only.
    #[must_use]
    pub fn idempotent(address: SocketAddr, rate_per_s: u32) -> Self {
        Load::idempotent_for(address, &address.to_string(), rate_per_s)
    }

    /// Idempotent requests only, for this host name.
    #[must_use]
    pub fn idempotent_for(address: SocketAddr, host: &str, rate_per_s: u32) -> Self {
        let (host, mix) = (host.to_owned(), Mix::Get);
        Load::start(LoadPlan { host, rate_per_s, mix, websockets: 0, event_streams: 0, ..LoadPlan::new(address) })
    }

    /// Idempotent requests for a host behind a server that closes kept connections, as nginx does at each reload.
    #[must_use]
    pub fn forgiving(address: SocketAddr, host: &str, rate_per_s: u32) -> Self {
        let host = host.to_owned();
        Load::start(LoadPlan { host, rate_per_s, mix: Mix::GetForgiving, ..LoadPlan::new(address) })
    }

    /// The number of finished requests, successful or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.running.requests()
    }

    /// The report up to now.
    #[must_use]
    pub fn snapshot(&self) -> Report {
        self.running.snapshot()
    }

    /// Ends the load and returns the report of every request.
    #[must_use]
    pub fn stop(self) -> Report {
        self.tokio.block_on(self.running.stop())
    }
}

//! A load client that records every request: the release that answered, the latency, and every failure with its time.
//! As the judge of "no lost request" it is strict: a request without a complete, correct answer is a failure, and
//! nothing is ever retried.

mod book;
mod plan;
mod requests;
mod streams;
mod websocket;

pub use book::{Failure, Kind, Latency, ReleaseCount, Report};
pub use plan::{LoadPlan, Mix};

use book::Book;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts loads.
pub struct Ledger;

/// A running load.
pub struct Running {
    book: Arc<Book>,
    ending: CancellationToken,
    tasks: JoinSet<()>,
}

impl Ledger {
    /// Starts the load on the current tokio runtime.
    #[must_use]
    pub fn start(plan: LoadPlan) -> Running {
        let (book, ending) = (Arc::new(Book::new()), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let plan = Arc::new(plan);
        tasks.spawn(requests::pace(plan.clone(), book.clone(), ending.clone()));
        if plan.mix == Mix::All {
            for _ in 0..plan.websockets {
                tasks.spawn(websocket::converse(plan.clone(), book.clone(), ending.clone()));
            }
            for _ in 0..plan.event_streams {
                tasks.spawn(streams::listen(plan.clone(), book.clone(), ending.clone()));
            }
        }
        Running { book, ending, tasks }
    }
}

impl Running {
    /// The number of finished requests, successful or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.book.requests()
    }

    /// The report up to now.
    #[must_use]
    pub fn snapshot(&self) -> Report {
        self.book.report()
    }

    /// Stops sending, waits for the requests in flight, and returns the report.
    pub async fn stop(mut self) -> Report {
        self.ending.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.book.report()
    }
}

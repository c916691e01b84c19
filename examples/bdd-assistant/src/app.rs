//! The state of the handlers, and the labels of this instance.

use crate::misbehave::Misbehaviour;
use crate::store::Store;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The state of the handlers.
pub struct App {
    /// The stories.
    pub store: Store,
    /// The configured failures.
    pub misbehaviour: Arc<Misbehaviour>,
    /// Cancelled on SIGTERM, which ends the streams.
    pub ending: CancellationToken,
}

/// A label of this instance, which gapless sets in the environment.
pub fn label(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| "none".to_owned())
}

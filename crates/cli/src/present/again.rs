//! Requests that are repeated while the server restarts.

use gapless_api::ClientError;
use std::time::Duration;
use tokio::time::Instant;

/// The message to a person who waits for the server.
pub const AWAY: &str = "the server does not answer; retrying for up to 60 s";

/// The longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Repeats `ask` until it succeeds, and returns its answer; `None` if Ctrl-C is pressed before.
///
/// # Errors
/// The last error, if the server does not answer for a minute.
pub async fn ask<T>(mut ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    let give_up_at = Instant::now() + PATIENCE;
    let until_back = async {
        loop {
            match ask().await {
                Err(_) if Instant::now() < give_up_at => tokio::time::sleep(RETRY_AFTER).await,
                answer => return answer.map(Some),
            }
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(None),
        answer = until_back => answer,
    }
}

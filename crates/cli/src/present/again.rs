//! Following through restarts of the server: it is asked again until it is back.

use gapless_api::ClientError;
use std::time::Duration;
use tokio::time::Instant;

/// What is said meanwhile.
pub const AWAY: &str = "the server is away; waiting for it";

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What it answers once it is back; `None` if Ctrl-C is pressed before.
///
/// # Errors
/// The last one, if it is not back for a minute.
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

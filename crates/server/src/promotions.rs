//! Promotions that nobody has to ask for: a release that has succeeded in one environment goes on to the next.

use crate::operations::{OperationError, Operations};
use crate::records::RecordError;
use gapless_core::AppKey;
use gapless_core::application::Promotion;
use gapless_core::command::Requester;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// How soon a promotion that the store did not take is tried again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Carries out what controllers ask for, for ever. A promotion is asked for until the record says that it was carried
/// out, so each may come many times.
pub async fn carry_out(
    operations: Operations,
    mut asked: mpsc::UnboundedReceiver<(AppKey, Promotion)>,
    by: impl Fn() -> Requester,
) {
    let mut done = BTreeSet::new();
    while let Some((from, promotion)) = asked.recv().await {
        let id = (from.clone(), promotion.to.clone(), promotion.release);
        if done.contains(&id) {
            continue;
        }
        match operations.promote_by_itself(&from, &promotion, &by()).await {
            Ok(()) => {
                done.retain(|(key, to, _)| *key != from || *to != promotion.to);
                done.insert(id);
            }
            Err(OperationError::Record(RecordError::Store(error))) => {
                tracing::warn!(application = %from, to = %promotion.to, %error, "cannot be promoted yet");
                tokio::time::sleep(RETRY_AFTER).await;
                operations.wake(&from);
            }
            Err(error) => tracing::warn!(application = %from, to = %promotion.to, %error, "is not promoted"),
        }
    }
}

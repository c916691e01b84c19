//! Waiting for the end of a process that need not be a child.

use rustix::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Waits until the process behind a pidfd has ended: it becomes readable then (pidfd_open(2)).
///
/// # Errors
/// If the descriptor cannot be waited for.
pub async fn ended(pidfd: OwnedFd) -> std::io::Result<()> {
    // Deprecated for types whose descriptor can change under it; an `OwnedFd`'s cannot, and the new constructor would
    // need `unsafe` to say so.
    #[allow(deprecated)]
    let pidfd = AsyncFd::new(pidfd)?;
    pidfd.readable().await.map(drop)
}

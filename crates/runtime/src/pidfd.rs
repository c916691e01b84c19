//! Waiting for the end of a process that need not be a child.

use rustix::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Waits until the process of a pidfd has ended, which makes the descriptor readable (pidfd_open(2)).
///
/// # Errors
/// If the descriptor cannot be waited for.
pub async fn ended(pidfd: OwnedFd) -> std::io::Result<()> {
    // Deprecated for types whose descriptor can change; an `OwnedFd`'s cannot, and the new constructor would need
    // `unsafe`.
    #[allow(deprecated)]
    let pidfd = AsyncFd::new(pidfd)?;
    pidfd.readable().await.map(drop)
}

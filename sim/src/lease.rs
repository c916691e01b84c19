//! The lease of the leader among several servers. As in etcd it expires unless the leader renews it, in simulated time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time that a leader may be silent before another server leads.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);

/// The lease, as the store records it.
#[derive(Clone, Default)]
pub(crate) struct Lease(Arc<Mutex<Ownership>>);

#[derive(Default)]
struct Ownership {
    /// The number of the last leadership.
    term: u64,
    expires_at: Option<Instant>,
}

impl Lease {
    /// Acquires the lease, if no server owns it.
    pub(crate) fn acquire(&self) -> Option<Fence> {
        let mut ownership = self.lock();
        let now = Instant::now();
        if ownership.expires_at.is_some_and(|at| now < at) {
            return None;
        }
        ownership.term += 1;
        ownership.expires_at = Some(now + LEASE_TTL);
        Some(Fence { lease: self.clone(), term: ownership.term, valid_until: Arc::new(Mutex::new(now)) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ownership> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proof of the lead: the store compares the term, and the server checks its own clock.
#[derive(Clone)]
pub(crate) struct Fence {
    lease: Lease,
    term: u64,
    valid_until: Arc<Mutex<Instant>>,
}

impl Fence {
    /// The store still records this leadership.
    pub(crate) fn leads(&self) -> bool {
        let ownership = self.lease.lock();
        ownership.term == self.term && ownership.expires_at.is_some_and(|at| Instant::now() < at)
    }

    /// Renews the lease; false if it has expired.
    pub(crate) fn renew(&self) -> bool {
        if !self.leads() {
            return false;
        }
        self.lease.lock().expires_at = Some(Instant::now() + LEASE_TTL);
        true
    }

    /// Records the answer to a renewal that was sent at `sent_at`: the lease lasts at least its full time from there.
    pub(crate) fn renewed_at(&self, sent_at: Instant) {
        let mut valid_until = self.valid_until.lock().unwrap_or_else(PoisonError::into_inner);
        *valid_until = (*valid_until).max(sent_at + LEASE_TTL);
    }

    /// By the server's own clock, the lease has certainly not expired.
    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the store has rejected this leadership.
    pub(crate) fn revoke(&self) {
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

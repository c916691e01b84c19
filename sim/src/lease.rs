//! Who leads, of several servers: whoever holds a key by a lease that runs out in simulated time, as in etcd.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a server may be gone until another leads.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);

/// The key of whoever leads, as the store has it.
#[derive(Clone, Default)]
pub(crate) struct Lease(Arc<Mutex<Holder>>);

#[derive(Default)]
struct Holder {
    /// The newest leadership.
    term: u64,
    expires_at: Option<Instant>,
}

impl Lease {
    /// Leads from now on, if nobody does.
    pub(crate) fn take(&self) -> Option<Fence> {
        let mut holder = self.lock();
        let now = Instant::now();
        if holder.expires_at.is_some_and(|at| now < at) {
            return None;
        }
        holder.term += 1;
        holder.expires_at = Some(now + LEASE_TTL);
        Some(Fence { lease: self.clone(), term: holder.term, valid_until: Arc::new(Mutex::new(now)) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Holder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What must be so for a server to change anything: that it leads, and by its own clock may know so.
#[derive(Clone)]
pub(crate) struct Fence {
    lease: Lease,
    term: u64,
    valid_until: Arc<Mutex<Instant>>,
}

impl Fence {
    /// Whether it leads, as the store sees it.
    pub(crate) fn leads(&self) -> bool {
        let holder = self.lease.lock();
        holder.term == self.term && holder.expires_at.is_some_and(|at| Instant::now() < at)
    }

    /// The store keeps the lease alive; false where it is gone.
    pub(crate) fn keep_alive(&self) -> bool {
        if !self.leads() {
            return false;
        }
        self.lease.lock().expires_at = Some(Instant::now() + LEASE_TTL);
        true
    }

    /// The answer to a call that was sent then: the lease lasts at least as long from there.
    pub(crate) fn is_kept_since(&self, sent_at: Instant) {
        let mut valid_until = self.valid_until.lock().unwrap_or_else(PoisonError::into_inner);
        *valid_until = (*valid_until).max(sent_at + LEASE_TTL);
    }

    /// Whether the lease is certain to last, by the server's own clock.
    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has said that another one leads.
    pub(crate) fn is_lost(&self) {
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

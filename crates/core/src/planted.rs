//! Bugs that can be planted, to see whether the simulator finds them. Without the feature `planted-bugs`, which nothing
//! that is shipped has, [`is`] is constantly false and every one of them is compiled out.

/// A mistake of the kind that is easily made, and the invariant that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// An old slot is stopped as soon as no data plane routes to it, whatever is in flight.
    StopBeforeDrain = 1,
    /// An old slot is stopped as soon as nothing is in flight, although a data plane may still route to it.
    StopWhileRouted,
    /// A data plane that has not reported since its last table is taken for one with nothing in flight.
    UnknownIsDrained,
    /// A data plane that is away is taken for one that routes nothing.
    AwayIsUnrouted,
    /// The checks of a new slot are not waited for.
    CutoverUnchecked,
    /// A health check that passed before the slot was frozen counts for its rollback.
    OldPassCounts,
    /// A gate that failed keeps nobody from the cutover.
    GateIgnored,
    /// Nobody's approval is waited for.
    ApprovalSkipped,
    /// An approval is waited for without end.
    ApprovalNeverExpires,
    /// A hook that an earlier run of the server began is begun again.
    HookTwice,
    /// With a canary the live slot keeps all of its weight.
    CanaryOverlap,
    /// A revert vacates the new slot and forgets to make the old one live again.
    RevertForgetsLive,
    /// Every instance comes back at boot, not only those of the live slot.
    AllComeBack,
    /// The data planes are told of a cutover before it is committed.
    RouteBeforeCommit,
    /// A commit does not compare what was read.
    BlindCommit,
    /// The instances of other applications are taken for left-overs.
    StopsStrangers,
    /// What was left over by a crash is not stopped.
    OrphansStay,
    /// A table's version may go back.
    VersionGoesBack,
    /// Deadlines go by the wall clock, whatever it does.
    ClockJumps,
    /// A server that was paused while it looked at instances acts on what it read before.
    ActsWhenDeposed,
    /// A leader's transactions are not fenced, and it reads on when its lease has run out. Planted in the simulated store.
    NoFence,
}

/// All of them, each with the name that the simulator shows.
pub const ALL: [(Bug, &str); 21] = [
    (Bug::StopBeforeDrain, "stop-before-drain"),
    (Bug::StopWhileRouted, "stop-while-routed"),
    (Bug::UnknownIsDrained, "unknown-is-drained"),
    (Bug::AwayIsUnrouted, "away-is-unrouted"),
    (Bug::CutoverUnchecked, "cutover-unchecked"),
    (Bug::OldPassCounts, "old-pass-counts"),
    (Bug::GateIgnored, "gate-ignored"),
    (Bug::ApprovalSkipped, "approval-skipped"),
    (Bug::ApprovalNeverExpires, "approval-never-expires"),
    (Bug::HookTwice, "hook-twice"),
    (Bug::CanaryOverlap, "canary-overlap"),
    (Bug::RevertForgetsLive, "revert-forgets-live"),
    (Bug::AllComeBack, "all-come-back"),
    (Bug::RouteBeforeCommit, "route-before-commit"),
    (Bug::BlindCommit, "blind-commit"),
    (Bug::StopsStrangers, "stops-strangers"),
    (Bug::OrphansStay, "orphans-stay"),
    (Bug::VersionGoesBack, "version-goes-back"),
    (Bug::ClockJumps, "clock-jumps"),
    (Bug::ActsWhenDeposed, "acts-when-deposed"),
    (Bug::NoFence, "no-fence"),
];

/// Whether that bug is planted in this process.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use chosen::{is, plant};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use super::Bug;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// The one that is planted; 0 for none.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Whether that bug is planted in this process.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }

    /// Plants a bug in place of the one before, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }
}

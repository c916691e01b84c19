//! Bugs that can be planted on purpose, to prove that the simulator finds them. Without the feature `planted-bugs`,
//! which no shipped binary has, every predicate is constantly false and the compiler removes the branch.

/// Defines the bugs: the variant, the predicate that production code asks, and the name that the simulator shows.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident, $predicate:ident, $name:literal;)+) => {
        /// A mistake that is easily made. Its description says which rule it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        /// Every bug with the name that the simulator shows.
        pub const ALL: &[(Bug, &str)] = &[$((Bug::$bug, $name)),+];

        $(
            $(#[doc = $doc])+
            #[must_use]
            #[inline(always)]
            pub fn $predicate() -> bool {
                is_planted(Bug::$bug)
            }
        )+
    };
}

bugs! {
    /// A slot may be stopped before it has drained.
    StopBeforeDrain, stops_before_drain, "stop-before-drain";
    /// A slot may be stopped while a data plane still routes to it.
    StopWhileRouted, stops_while_routed, "stop-while-routed";
    /// An unknown number of requests in flight counts as none.
    UnknownIsDrained, takes_unknown_for_drained, "unknown-is-drained";
    /// A data plane that does not answer counts as one that has dropped the route.
    AwayIsUnrouted, takes_away_for_unrouted, "away-is-unrouted";
    /// The cutover does not wait for health checks.
    CutoverUnchecked, skips_health_checks, "cutover-unchecked";
    /// Health checks that passed in an earlier phase count.
    OldPassCounts, counts_old_passes, "old-pass-counts";
    /// A failed gate counts as passed.
    GateIgnored, ignores_gates, "gate-ignored";
    /// No approval is required.
    ApprovalSkipped, skips_approvals, "approval-skipped";
    /// An approval has no deadline.
    ApprovalNeverExpires, never_expires_approvals, "approval-never-expires";
    /// A hook that an earlier run of the server started is started again.
    HookTwice, repeats_hooks, "hook-twice";
    /// The live slot keeps its whole weight during a canary.
    CanaryOverlap, overlaps_canary_weights, "canary-overlap";
    /// A revert does not make the old slot live again.
    RevertForgetsLive, forgets_live_on_revert, "revert-forgets-live";
    /// Instances of every slot restart at boot.
    AllComeBack, restarts_all_at_boot, "all-come-back";
    /// Data planes receive the cutover before it is committed.
    RouteBeforeCommit, routes_before_commit, "route-before-commit";
    /// A commit compares no revision.
    BlindCommit, commits_blindly, "blind-commit";
    /// Instances of other applications count as left over.
    StopsStrangers, stops_strangers, "stops-strangers";
    /// Instances left over by a crash keep running.
    OrphansStay, leaves_orphans, "orphans-stay";
    /// The version of the route table may decrease.
    VersionGoesBack, lowers_table_version, "version-goes-back";
    /// Deadlines follow every jump of the wall clock.
    ClockJumps, follows_wall_clock, "clock-jumps";
    /// A server acts on what it read before it lost its lease.
    ActsWhenDeposed, acts_when_deposed, "acts-when-deposed";
    /// A leader's transactions are not fenced, and it reads after its lease has expired.
    NoFence, skips_fence, "no-fence";
}

#[cfg(not(feature = "planted-bugs"))]
const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
use chosen::is_planted;
#[cfg(feature = "planted-bugs")]
pub use chosen::plant;

#[cfg(feature = "planted-bugs")]
mod chosen {
    use super::Bug;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// The number of the planted bug, counted from 1; 0 for none.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    pub(super) fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8 + 1
    }

    /// Plants a bug instead of the previous one, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
    }
}

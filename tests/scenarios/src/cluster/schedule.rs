//! The schedule of faults: a pure function of the seed, so that a run can be repeated.

use super::network::MACHINES;
use gapless_harness::Rng;
use std::time::Duration;

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The leading server is killed.
    KillLeader,
    /// A following server is killed.
    KillFollower,
    /// The leading server is paused.
    PauseLeader,
    /// A following server is paused.
    PauseFollower,
    /// The leading server reaches no member.
    CutLeader,
    /// The leading server and the member of its number reach each other only.
    CutLeadersMachine,
    /// A server and the member of its number reach each other only.
    CutMachine,
    /// The member that leads etcd is killed.
    KillEtcdLeader,
    /// A member is killed.
    KillMember,
    /// A member is paused.
    PauseMember,
    /// A member reaches no other member, but the servers reach it.
    CutMember,
    /// A member is unplugged.
    UnplugMember,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 12] = [
        Kind::KillLeader,
        Kind::KillFollower,
        Kind::PauseLeader,
        Kind::PauseFollower,
        Kind::CutLeader,
        Kind::CutLeadersMachine,
        Kind::CutMachine,
        Kind::KillEtcdLeader,
        Kind::KillMember,
        Kind::PauseMember,
        Kind::CutMember,
        Kind::UnplugMember,
    ];

    /// The name in the figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::KillLeader => "kill_leader",
            Kind::KillFollower => "kill_follower",
            Kind::PauseLeader => "pause_leader",
            Kind::PauseFollower => "pause_follower",
            Kind::CutLeader => "cut_leader",
            Kind::CutLeadersMachine => "cut_leaders_machine",
            Kind::CutMachine => "cut_machine",
            Kind::KillEtcdLeader => "kill_etcd_leader",
            Kind::KillMember => "kill_member",
            Kind::PauseMember => "pause_member",
            Kind::CutMember => "cut_member",
            Kind::UnplugMember => "unplug_member",
        }
    }

    /// Returns whether the fault affects a server, and not only a member.
    #[must_use]
    pub const fn is_of_server(self) -> bool {
        !matches!(
            self,
            Kind::KillEtcdLeader | Kind::KillMember | Kind::PauseMember | Kind::CutMember | Kind::UnplugMember
        )
    }
}

/// A fault, which ends before its round does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// The affected server or member, if the kind leaves that open.
    pub number: usize,
    /// The start, from the start of the round.
    pub at: Duration,
    /// The duration.
    pub lasts: Duration,
}

/// Faults that may overlap. After each round all faults end, and the cluster has to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The faults, in the order of their starts.
    pub faults: Vec<Fault>,
    /// The seed of the deployments in the round.
    pub seed: u64,
}

/// A random number from 1 to 3.
pub(super) fn machine(chance: &mut Rng) -> usize {
    1 + usize::try_from(chance.below(MACHINES as u64)).unwrap_or(0)
}

/// The rounds of a seed.
#[must_use]
pub fn schedule(seed: u64, rounds: usize) -> Vec<Round> {
    let mut chance = Rng::new(seed);
    let round = |_| {
        // One round in two has a single fault, so that its own effect is seen.
        let count = if chance.below(2) == 0 { 1 } else { 2 + chance.below(2) };
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| {
                let kind = *chance.one_of(&Kind::ALL);
                let at = chance.between(200, 3000);
                // Most faults outlast the lease of 3 s; some killed processes return earlier.
                let lasts = match kind {
                    Kind::KillLeader | Kind::KillFollower | Kind::KillEtcdLeader | Kind::KillMember => {
                        chance.between(100, 6000)
                    }
                    _ => chance.between(3500, 7000),
                };
                Fault { kind, number: machine(&mut chance), at, lasts }
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        Round { faults, seed: chance.below(u64::MAX) }
    };
    (0..rounds).map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_depends_on_seed_alone() {
        assert_eq!(schedule(7, 4), schedule(7, 4));
        assert_ne!(schedule(7, 4), schedule(8, 4));
        assert_eq!(schedule(7, 4)[..2], schedule(7, 2));
    }

    #[test]
    fn twenty_seeds_cover_every_fault() {
        for kind in Kind::ALL {
            let has = |seed| schedule(seed, 3).iter().flat_map(|round| &round.faults).any(|fault| fault.kind == kind);
            assert!((1..=20).any(has), "{kind:?}");
        }
    }
}

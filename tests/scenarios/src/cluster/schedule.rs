//! Which faults there are, when, and on whom: a pure function of the seed, so that a run can be repeated.

use super::network::MACHINES;
use gapless_harness::Rng;
use std::time::Duration;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The leading server is killed.
    KillLeader,
    /// A server that follows is killed.
    KillFollower,
    /// The leading server is paused.
    PauseLeader,
    /// A server that follows is paused.
    PauseFollower,
    /// The leading server reaches no member.
    CutLeader,
    /// The leading server and the member of its number reach each other and nobody else.
    CutLeadersMachine,
    /// A server and the member of its number reach each other and nobody else.
    CutMachine,
    /// The member that leads etcd is killed.
    KillEtcdLeader,
    /// A member is killed.
    KillMember,
    /// A member is paused.
    PauseMember,
    /// A member reaches no other member; servers reach it.
    CutMember,
    /// A member's cable is out.
    UnplugMember,
}

impl Kind {
    /// All of them.
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

    /// Its name in figures.
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

    /// Whether it is done to a server, and not to a member only.
    #[must_use]
    pub const fn is_of_server(self) -> bool {
        !matches!(
            self,
            Kind::KillEtcdLeader | Kind::KillMember | Kind::PauseMember | Kind::CutMember | Kind::UnplugMember
        )
    }
}

/// A fault, to be ended before its round is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// On whom, where the kind does not say so.
    pub number: usize,
    /// When, since its round began.
    pub at: Duration,
    /// How long until it is mended.
    pub lasts: Duration,
}

/// Faults that may overlap. After each round everything is mended, and has to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The faults, in the order of their beginnings.
    pub faults: Vec<Fault>,
    /// What the deployments of the round are drawn from.
    pub seed: u64,
}

/// A number of 1, 2, 3.
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
                // Most last longer than the lease of 3 s; some of those killed come back before it is over.
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
    fn a_seed_gives_the_same_schedule_each_time_and_another_one_another() {
        assert_eq!(schedule(7, 4), schedule(7, 4));
        assert_ne!(schedule(7, 4), schedule(8, 4));
        assert_eq!(schedule(7, 4)[..2], schedule(7, 2));
    }

    #[test]
    fn twenty_seeds_have_every_kind_of_fault() {
        for kind in Kind::ALL {
            let has = |seed| schedule(seed, 3).iter().flat_map(|round| &round.faults).any(|fault| fault.kind == kind);
            assert!((1..=20).any(has), "{kind:?}");
        }
    }
}

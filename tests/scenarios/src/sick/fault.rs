//! What goes wrong with calls of the Engine, and with which of them.

use super::Call;
use gapless_harness::Rng;
use std::time::Duration;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is never answered.
    Hang,
    /// It is answered after that time.
    Late(Duration),
    /// It is answered with that status, and not done.
    Status(u16),
    /// It is done, and half of the answer comes.
    Half,
    /// Its connection is closed, and it is not done.
    Close,
    /// It is done, and its connection is closed without an answer.
    Untold,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 8] = [
        Fault::Status(404),
        Fault::Status(409),
        Fault::Status(500),
        Fault::Close,
        Fault::Half,
        Fault::Untold,
        Fault::Late(Duration::from_secs(2)),
        Fault::Hang,
    ];
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Hang => f.write_str("hang"),
            Fault::Late(_) => f.write_str("late"),
            Fault::Status(status) => write!(f, "{status}"),
            Fault::Half => f.write_str("half"),
            Fault::Close => f.write_str("close"),
            Fault::Untold => f.write_str("untold"),
        }
    }
}

/// Which calls have a fault.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Calls of one kind, of which so many are let through first and so many then have it.
    Of {
        /// The kind, as [`Call::kind`] has it.
        kind: String,
        /// How many are let through first.
        after: u64,
        /// How many then have it.
        times: u64,
        /// What becomes of them.
        fault: Fault,
    },
    /// Any call, by chance, so many of a thousand; which fault is chance, too.
    Any {
        /// So many of a thousand.
        per_mille: u64,
        /// The chance.
        chance: Rng,
        /// Among these.
        faults: Vec<Fault>,
    },
}

impl Rule {
    /// All calls of one kind.
    #[must_use]
    pub fn all(kind: &str, fault: Fault) -> Rule {
        Rule::Of { kind: kind.to_owned(), after: 0, times: u64::MAX, fault }
    }

    /// The first call of a kind.
    #[must_use]
    pub fn first(kind: &str, fault: Fault) -> Rule {
        Rule::Of { kind: kind.to_owned(), after: 0, times: 1, fault }
    }

    /// What becomes of that call.
    pub(super) fn strike(&mut self, call: &Call) -> Option<Fault> {
        match self {
            Rule::Of { kind, after, times, fault } => {
                if *kind != call.kind {
                    return None;
                }
                if *after > 0 {
                    *after -= 1;
                    return None;
                }
                *times = times.checked_sub(1)?;
                Some(*fault)
            }
            Rule::Any { per_mille, chance, faults } => {
                (chance.below(1000) < *per_mille).then(|| *chance.one_of(faults))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_strikes_what_it_says_and_as_often() {
        let (stop, list) = (Call::of("POST", "/containers/a/stop"), Call::of("GET", "/containers/json"));
        let mut rule = Rule::Of { kind: stop.kind.clone(), after: 1, times: 2, fault: Fault::Close };
        let struck: Vec<_> = [&stop, &list, &stop, &stop, &stop].map(|call| rule.strike(call)).to_vec();
        assert_eq!(struck, [None, None, Some(Fault::Close), Some(Fault::Close), None]);
        let mut never = Rule::Any { per_mille: 0, chance: Rng::new(1), faults: vec![Fault::Hang] };
        assert!((0..1000).all(|_| never.strike(&list).is_none()));
    }
}

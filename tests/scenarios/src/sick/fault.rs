//! Faults of Engine calls, and the rules that select the calls.

use super::Call;
use gapless_harness::Rng;
use std::time::Duration;

/// A fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Never answered.
    Hang,
    /// Answered after this time.
    Late(Duration),
    /// Answered with this status, and not executed.
    Status(u16),
    /// Executed, with half of the answer.
    Half,
    /// Not executed, with the connection closed.
    Close,
    /// Executed, with the connection closed without an answer.
    NoAnswer,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 8] = [
        Fault::Status(404),
        Fault::Status(409),
        Fault::Status(500),
        Fault::Close,
        Fault::Half,
        Fault::NoAnswer,
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
            Fault::NoAnswer => f.write_str("no-answer"),
        }
    }
}

/// The selection of calls with a fault.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Calls of one kind.
    Of {
        /// The kind, as in [`Call::kind`].
        kind: String,
        /// The number of calls without a fault first.
        after: u64,
        /// The number of calls with the fault then.
        times: u64,
        /// The fault.
        fault: Fault,
    },
    /// Any call, with a probability; the fault is random.
    Any {
        /// The probability, in thousandths.
        per_mille: u64,
        /// The random numbers.
        chance: Rng,
        /// The possible faults.
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

    /// The fault of this call, if it gets one.
    pub(super) fn apply(&mut self, call: &Call) -> Option<Fault> {
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
    fn rule_matches_its_calls_as_often_as_configured() {
        let (stop, list) = (Call::of("POST", "/containers/a/stop"), Call::of("GET", "/containers/json"));
        let mut rule = Rule::Of { kind: stop.kind.clone(), after: 1, times: 2, fault: Fault::Close };
        let struck: Vec<_> = [&stop, &list, &stop, &stop, &stop].map(|call| rule.apply(call)).to_vec();
        assert_eq!(struck, [None, None, Some(Fault::Close), Some(Fault::Close), None]);
        let mut never = Rule::Any { per_mille: 0, chance: Rng::new(1), faults: vec![Fault::Hang] };
        assert!((0..1000).all(|_| never.apply(&list).is_none()));
    }
}

//! The state machine of an application: from the records and the facts to the next records, or, once the records are
//! complete, to the actions that make the world match them.
//!
//! A step either changes the records or asks for actions, never both. The change is committed, then the machine is
//! asked again. So an intent is always durable before its effect, and after a crash the same question has the same
//! answer.

mod actions;
mod advance;
mod canary;
mod hooks;
mod outcomes;
mod receipt;
mod reconcile;
mod transition;
mod verdicts;

#[cfg(test)]
mod tests;

use crate::deployment::Deployment;
use crate::facts::Facts;
use crate::{Action, Application, Release, Timestamp};

/// The records of an application that a step reads and changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The application.
    pub app: Application,
    /// The active deployment, or the next one in the queue if none is active.
    pub deployment: Option<Deployment>,
    /// The release of that deployment.
    pub release: Option<Release>,
}

/// The decision of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next records. Commit them if the records that were read are unchanged, then ask again.
    Commit(Box<State>),
    /// The records stay as they are.
    Rest {
        /// The effects to carry out.
        actions: Vec<Action>,
        /// The latest instant at which to ask again, even without an event; `None` while only new facts can change the
        /// decision.
        wake_at: Option<Timestamp>,
    },
}

/// Decides the next step of an application: a pure function of its records and the facts.
#[must_use]
pub fn step(state: &State, facts: &Facts) -> Step {
    let mut next = state.clone();
    advance::advance(&mut next, facts);
    reconcile::reconcile(&mut next, facts);
    if next != *state {
        return Step::Commit(Box::new(next));
    }
    Step::Rest { actions: actions::actions(state, facts), wake_at: actions::wake_at(state, facts) }
}

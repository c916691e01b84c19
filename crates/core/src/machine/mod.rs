//! The state machine: from the record and the facts to the next record, or, where the record is as it should be, to
//! the actions that bring the world nearer to it.
//!
//! A step that changes the record has no actions: the change is committed first, then the machine is asked again. So an
//! intent is always durable before its effect, and after a crash the same question has the same answer.

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

/// The record that a step goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The application.
    pub app: Application,
    /// Its active deployment or, where none is active, the next one in the queue.
    pub deployment: Option<Deployment>,
    /// That deployment's release.
    pub release: Option<Release>,
}

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The record changes to this. Commit it, comparing what was read, and ask again.
    Commit(Box<State>),
    /// The record is as it should be.
    Rest {
        /// What to do.
        actions: Vec<Action>,
        /// When to ask again at the latest, whatever happens or does not; `None` while only facts can change anything.
        wake_at: Option<Timestamp>,
    },
}

/// Decides the next step.
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

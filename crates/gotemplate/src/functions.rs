//! The functions that templates may call.

use crate::builtins;
use crate::value::Function;
use std::collections::BTreeMap;

/// The functions that templates may call, by name: Go's builtin functions and added ones.
#[derive(Clone)]
pub struct Functions {
    pub(crate) by_name: BTreeMap<&'static str, Function>,
}

impl Default for Functions {
    fn default() -> Self {
        Functions { by_name: builtins::all().into_iter().collect() }
    }
}

impl Functions {
    /// Adds a function, or replaces the function of that name.
    pub fn insert(&mut self, name: &'static str, function: Function) {
        self.by_name.insert(name, function);
    }

    /// The names of all functions.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}

//! confd's template functions.

mod arguments;
mod crypt;
mod data;
mod keys;
mod layout;
mod lookup;
mod numbers;
mod pair;
mod text;
mod time;

pub use crypt::{Keyring, KeyringError};
pub use lookup::{LookupFailed, nodes_of};

use crate::keys::Keys;
use gapless_gotemplate::Functions;
use std::sync::Arc;

/// All functions, over a snapshot of keys.
pub fn all(keys: &Arc<Keys>, keyring: Option<&Arc<Keyring>>) -> Functions {
    let mut functions = Functions::default();
    keys::add(&mut functions, keys);
    crypt::add(&mut functions, keys, keyring);
    add_pure(&mut functions);
    text::add_surroundings(&mut functions);
    lookup::add(&mut functions);
    time::add(&mut functions);
    functions
}

/// The functions that depend only on their arguments: texts, numbers and structured values.
#[must_use]
pub fn pure() -> Functions {
    let mut functions = Functions::default();
    add_pure(&mut functions);
    functions
}

fn add_pure(functions: &mut Functions) {
    text::add(functions);
    numbers::add(functions);
    data::add(functions);
}

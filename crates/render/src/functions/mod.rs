//! confd's template functions.

mod arguments;
#[cfg(feature = "full")]
mod crypt;
mod data;
#[cfg(feature = "full")]
mod keys;
#[cfg(feature = "full")]
mod layout;
#[cfg(feature = "full")]
mod lookup;
mod numbers;
mod pair;
mod text;
#[cfg(feature = "full")]
mod time;

#[cfg(feature = "full")]
pub use crypt::{Keyring, KeyringError};
#[cfg(feature = "full")]
pub use lookup::{LookupFailed, nodes_of};

#[cfg(feature = "full")]
use crate::keys::Keys;
use gapless_gotemplate::Functions;
#[cfg(feature = "full")]
use std::sync::Arc;

/// All functions, over a snapshot of keys.
#[cfg(feature = "full")]
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

//! The functions that confd gives to templates.

mod crypt;
mod data;
mod keys;
mod layout;
mod lookup;
mod numbers;
mod text;
mod time;

pub use crypt::{Keyring, KeyringError};
pub use lookup::{LookupFailed, nodes_of};

use crate::keys::Keys;
use gapless_gotemplate::{Functions, Value};
use std::sync::Arc;

/// All of them, over one snapshot of keys.
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

/// Those of them whose answers depend on nothing but their arguments: texts, numbers and structured values.
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

/// A string argument.
fn text(value: &Value) -> Result<&str, String> {
    value.as_text().ok_or_else(|| format!("wants a string, got a {}", value.type_name()))
}

/// An integer argument.
fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(value) => Ok(*value),
        other => Err(format!("wants an int, got a {}", other.type_name())),
    }
}

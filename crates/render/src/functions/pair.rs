//! Pairs of a key and its value, as confd has them.

use gapless_gotemplate::Value;

/// confd's name for a key with its value.
pub const PAIR: &str = "memkv.KVPair";

/// A key with its value.
pub fn pair(key: &str, value: &str) -> Value {
    Value::object(PAIR, vec![("Key", Value::from(key)), ("Value", Value::from(value))])
}

/// The error for a missing key.
pub fn missing(key: &str) -> String {
    format!("key does not exist: {key}")
}

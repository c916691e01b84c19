//! Conversions of arguments.

use gapless_gotemplate::Value;

/// A string argument.
pub fn text(value: &Value) -> Result<&str, String> {
    value.as_text().ok_or_else(|| format!("wants a string, got a {}", value.type_name()))
}

/// An integer argument.
pub fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(value) => Ok(*value),
        other => Err(format!("wants an int, got a {}", other.type_name())),
    }
}

//! Comparison of values.

use crate::value::Value;
use std::cmp::Ordering;

/// `eq`: the first value equals one of the others.
pub fn equal_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    comparable(first)?;
    if others.is_empty() {
        return Err("the comparison lacks an argument".into());
    }
    for other in others {
        comparable(other)?;
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn comparable(value: &Value) -> Result<(), String> {
    match value {
        Value::List(_) | Value::Map(_) => Err(format!("a {} cannot be compared", value.type_name())),
        _ => Ok(()),
    }
}

#[allow(clippy::float_cmp, reason = "the language compares floats exactly")]
fn equal(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        (Value::Int(one), Value::Int(other)) => Ok(one == other),
        (Value::Float(one), Value::Float(other)) => Ok(one == other),
        (Value::Text(one), Value::Text(other)) => Ok(one == other),
        (Value::Object(one), Value::Object(other)) if one.name == other.name => {
            for ((_, one), (_, other)) in one.fields.iter().zip(&other.fields) {
                if !equal(one, other)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Err(incompatible(one, other)),
    }
}

fn incompatible(one: &Value, other: &Value) -> String {
    format!("a {} and a {} cannot be compared", one.type_name(), other.type_name())
}

/// The order of two numbers; `None` if one of the values is NaN or not a number.
pub fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(Some(one.cmp(other))),
        (Value::Float(one), Value::Float(other)) => Ok(one.partial_cmp(other)),
        (Value::Text(one), Value::Text(other)) => Ok(Some(one.cmp(other))),
        _ => Err(incompatible(one, other)),
    }
}

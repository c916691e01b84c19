//! Functions for structured values: `json`, `jsonArray`, `map`.

use super::arguments::text;
use gapless_gotemplate::{Element, Function, Functions, Value};
use std::collections::BTreeMap;

pub fn add(functions: &mut Functions) {
    functions.insert("json", Function::new(1, json));
    functions.insert("jsonArray", Function::new(1, json_array));
    functions.insert("map", Function::variadic(0, map));
}

fn json(values: &[Value]) -> Result<Value, String> {
    match parse(text(&values[0])?)? {
        map @ Value::Map(_) => Ok(map),
        Value::Nil => Ok(Value::map(Element::Any, BTreeMap::new())),
        _ => Err("this JSON is not an object; use jsonArray for an array".into()),
    }
}

fn json_array(values: &[Value]) -> Result<Value, String> {
    match parse(text(&values[0])?)? {
        list @ Value::List(_) => Ok(list),
        Value::Nil => Ok(Value::list(Element::Any, Vec::new())),
        _ => Err("this JSON is not an array; use json for an object".into()),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(value).map_err(|error| format!("this is not JSON: {error}"))
}

/// The value as Go decodes it: every number is a float64.
fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Value::list(Element::Any, items.into_iter().map(value).collect()),
        serde_json::Value::Object(entries) => {
            Value::map(Element::Any, entries.into_iter().map(|(key, item)| (key, value(item))).collect())
        }
    }
}

fn map(values: &[Value]) -> Result<Value, String> {
    let (pairs, rest) = values.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("wants alternating keys and values; the last key has no value".into());
    }
    let mut entries = BTreeMap::new();
    for [key, value] in pairs {
        let key = key.as_text().ok_or_else(|| format!("keys must be strings, not of type {}", key.type_name()))?;
        entries.insert(key.to_owned(), value.clone());
    }
    Ok(Value::map(Element::Any, entries))
}

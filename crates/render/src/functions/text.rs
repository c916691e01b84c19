//! Functions for strings and lists of strings.

use super::arguments::{int, text};
use super::pair::PAIR;
use crate::path;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gapless_gotemplate::{Element, Function, Functions, List, Value};

pub fn add(functions: &mut Functions) {
    functions.insert("base", Function::new(1, |values| Ok(Value::from(path::base(text(&values[0])?)))));
    functions.insert("dir", Function::new(1, |values| Ok(path::dir(text(&values[0])?).into())));
    functions.insert("split", Function::new(2, split));
    functions.insert("join", Function::new(2, join));
    functions.insert("toUpper", Function::new(1, |values| Ok(cased(text(&values[0])?, char::to_uppercase).into())));
    functions.insert("toLower", Function::new(1, |values| Ok(cased(text(&values[0])?, char::to_lowercase).into())));
    functions
        .insert("contains", Function::new(2, |values| Ok(Value::Bool(text(&values[0])?.contains(text(&values[1])?)))));
    functions.insert("replace", Function::new(4, replace));
    functions.insert(
        "trimSuffix",
        Function::new(2, |values| {
            let whole = text(&values[0])?;
            Ok(Value::from(whole.strip_suffix(text(&values[1])?).unwrap_or(whole)))
        }),
    );
    functions.insert("base64Encode", Function::new(1, |values| Ok(STANDARD.encode(text(&values[0])?).into())));
    functions.insert("base64Decode", Function::new(1, decode));
    functions.insert("reverse", Function::new(1, reverse));
    functions.insert("sortByLength", Function::new(1, |values| sorted(&values[0], Element::Text, text_length)));
    functions
        .insert("sortKVByLength", Function::new(1, |values| sorted(&values[0], Element::Struct(PAIR), key_length)));
}

/// Adds the functions that depend on the process and the disk.
pub fn add_surroundings(functions: &mut Functions) {
    functions.insert("getenv", Function::variadic(1, getenv));
    functions.insert(
        "fileExists",
        // As in confd: a file is missing only if the system says so.
        Function::new(1, |values| {
            let found = std::fs::metadata(text(&values[0])?);
            Ok(Value::Bool(!found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)))
        }),
    );
}

fn split(values: &[Value]) -> Result<Value, String> {
    let (whole, separator) = (text(&values[0])?, text(&values[1])?);
    if separator.is_empty() {
        return Ok(Value::texts(whole.chars().map(String::from)));
    }
    Ok(Value::texts(whole.split(separator)))
}

fn join(values: &[Value]) -> Result<Value, String> {
    let list = list(&values[0], Element::Text)?;
    let parts: Result<Vec<&str>, String> = list.items.iter().map(text).collect();
    Ok(parts?.join(text(&values[1])?).into())
}

/// A list whose elements have that type.
fn list(value: &Value, element: Element) -> Result<&List, String> {
    match value {
        Value::List(list) if list.element == element => Ok(list),
        other => Err(format!("wants a []{}, got a {}", element.name(), other.type_name())),
    }
}

/// Changes case character by character, as in Go: a character that would become two stays.
fn cased<I: Iterator<Item = char>>(text: &str, case: fn(char) -> I) -> String {
    let change = |character| {
        let mut changed = case(character);
        match (changed.next(), changed.next()) {
            (Some(one), None) => one,
            _ => character,
        }
    };
    text.chars().map(change).collect()
}

fn replace(values: &[Value]) -> Result<Value, String> {
    let (whole, old, new) = (text(&values[0])?, text(&values[1])?, text(&values[2])?);
    let replaced = match usize::try_from(int(&values[3])?) {
        Ok(count) => whole.replacen(old, new, count),
        // Negative: all occurrences.
        Err(_) => whole.replace(old, new),
    };
    Ok(replaced.into())
}

fn getenv(values: &[Value]) -> Result<Value, String> {
    let value = std::env::var_os(text(&values[0])?).map(|value| value.to_string_lossy().into_owned());
    match (value.filter(|value| !value.is_empty()), values.get(1)) {
        (Some(value), _) => Ok(value.into()),
        (None, Some(default)) => Ok(Value::from(text(default)?)),
        (None, None) => Ok(Value::from("")),
    }
}

fn decode(values: &[Value]) -> Result<Value, String> {
    let bytes = STANDARD.decode(text(&values[0])?).map_err(|error| format!("this is not base64: {error}"))?;
    String::from_utf8(bytes).map(Value::from).map_err(|_| "the decoded value is not UTF-8".into())
}

/// Reverses lists of strings and of pairs; leaves other values unchanged, as in confd.
fn reverse(values: &[Value]) -> Result<Value, String> {
    match &values[0] {
        Value::List(list) if matches!(list.element, Element::Text | Element::Struct(PAIR)) => {
            Ok(Value::list(list.element, list.items.iter().rev().cloned().collect()))
        }
        other => Ok(other.clone()),
    }
}

fn sorted(value: &Value, element: Element, length: fn(&Value) -> usize) -> Result<Value, String> {
    let mut items = list(value, element)?.items.clone();
    items.sort_by_key(length);
    Ok(Value::list(element, items))
}

fn text_length(value: &Value) -> usize {
    value.as_text().map_or(0, str::len)
}

fn key_length(value: &Value) -> usize {
    match value {
        Value::Object(pair) => pair.fields.first().map_or(0, |(_, key)| text_length(key)),
        _ => 0,
    }
}

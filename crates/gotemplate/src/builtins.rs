//! The functions that every template has.

use crate::compare;
use crate::escape;
use crate::print::{print, print_line};
use crate::value::{Function, Value};
use crate::verbs;
use std::cmp::Ordering;

/// All builtin functions, by name. `and` and `or` only reserve their names: `eval` implements them, since they may stop
/// early.
pub fn all() -> Vec<(&'static str, Function)> {
    vec![
        ("and", Function::variadic(1, |_| Ok(Value::Nil))),
        ("or", Function::variadic(1, |_| Ok(Value::Nil))),
        ("not", Function::new(1, |values| Ok(Value::Bool(!values[0].is_true())))),
        ("eq", Function::variadic(1, |values| Ok(Value::Bool(compare::equal_any(&values[0], &values[1..])?)))),
        ("ne", Function::new(2, |values| Ok(Value::Bool(!compare::equal_any(&values[0], &values[1..])?)))),
        ("lt", ordered(|order| order == Ordering::Less)),
        ("le", ordered(|order| order != Ordering::Greater)),
        ("gt", ordered(|order| order == Ordering::Greater)),
        ("ge", ordered(|order| order != Ordering::Less)),
        ("index", Function::variadic(1, index)),
        ("slice", Function::variadic(1, slice)),
        ("len", Function::new(1, length)),
        ("print", Function::variadic(0, |values| Ok(print(values).into()))),
        ("println", Function::variadic(0, |values| Ok(print_line(values).into()))),
        ("printf", Function::variadic(1, printf)),
        ("html", Function::variadic(0, |values| Ok(escape::html(&plain(values)).into()))),
        ("js", Function::variadic(0, |values| Ok(escape::javascript(&plain(values)).into()))),
        ("urlquery", Function::variadic(0, |values| Ok(escape::query(&plain(values)).into()))),
        ("call", Function::variadic(1, |_| Err("function values do not exist, so there is nothing to call".into()))),
    ]
}

fn ordered(accepts: fn(Ordering) -> bool) -> Function {
    Function::new(2, move |values| Ok(Value::Bool(compare::order(&values[0], &values[1])?.is_some_and(accepts))))
}

/// The input of the escaping functions; a lone nil prints as in an action.
fn plain(values: &[Value]) -> String {
    if let [Value::Nil] = values { "<no value>".into() } else { print(values) }
}

fn printf(values: &[Value]) -> Result<Value, String> {
    let format =
        values[0].as_text().ok_or_else(|| format!("wants a string as its format, got a {}", values[0].type_name()))?;
    Ok(verbs::format(format, &values[1..]).into())
}

fn length(values: &[Value]) -> Result<Value, String> {
    let length = match &values[0] {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        other => return Err(format!("a {} has no length", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `index x 1 "key"`: the element 1 of x, then the element "key" of that.
fn index(values: &[Value]) -> Result<Value, String> {
    let mut value = values[0].clone();
    for key in &values[1..] {
        value = match (&value, key) {
            (Value::List(list), key) => list.items[position(key, list.items.len(), false)?].clone(),
            (Value::Text(text), key) => Value::Int(text.as_bytes()[position(key, text.len(), false)?].into()),
            (Value::Map(map), Value::Text(key)) => {
                map.entries.get(&**key).cloned().unwrap_or_else(|| map.element.zero())
            }
            (Value::Map(_), key) => {
                return Err(format!("the keys of a map are strings, not of type {}", key.type_name()));
            }
            (Value::Nil, _) => return Err("there is nothing to index".into()),
            (other, _) => return Err(format!("a {} cannot be indexed", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let value = &values[0];
    let bounds = &values[1..];
    if bounds.len() > 3 {
        return Err(format!("too many indexes: {}", bounds.len()));
    }
    let length = match value {
        Value::Text(_) if bounds.len() == 3 => return Err("a string cannot be sliced with three indexes".into()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Nil => return Err("there is nothing to slice".into()),
        other => return Err(format!("a {} cannot be sliced", other.type_name())),
    };
    let mut ends = [0, length, length];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        *end = position(bound, length, true)?;
    }
    let [from, to, capacity] = ends;
    if from > to || to > capacity {
        return Err(format!("the indexes are in the wrong order: {from}, {to}"));
    }
    match value {
        Value::Text(text) => {
            let part = text.get(from..to).ok_or("an index lies inside a character")?;
            Ok(Value::from(part))
        }
        Value::List(list) => Ok(Value::list(list.element, list.items[from..to].to_vec())),
        other => Ok(other.clone()),
    }
}

/// An index into a sequence of that length; with `end`, the length itself is valid too.
fn position(key: &Value, length: usize, end: bool) -> Result<usize, String> {
    let Value::Int(number) = key else {
        return Err(format!("an index must be an integer, not of type {}", key.type_name()));
    };
    let fits = |position: &usize| *position < length || end && *position == length;
    usize::try_from(*number)
        .ok()
        .filter(fits)
        .ok_or_else(|| format!("index {number} is out of range: the length is {length}"))
}
